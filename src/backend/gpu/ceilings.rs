//! What a device's memory gives at best, and the way to it, measured by kernels and copies that do nothing else.

use std::time::Instant;

use wgpu::BufferUsages as Usage;

use super::buffers::MAX_STAGING_BYTES;
use super::clock::Clock;
use super::device::{Device, lost};
use super::layout::{CeilingParams, WORD};
use super::shaders::{Group, THREADS, memory_kernel};
use crate::backend::gpu_types::DeviceCeilings;
use crate::error::Result;

/// Bytes of each of the two buffers: more than any cache holds; and where a CPU plays the GPU.
const BYTES: [u64; 2] = [1 << 30, 1 << 27];
/// Workgroups of a dispatch: as many as run at a time on a large GPU, and more than on others.
const GROUPS: u32 = 2048;
/// Bytes that all threads take at a time: sizes are multiples of it.
const STEP_BYTES: u64 = GROUPS as u64 * THREADS as u64 * 4 * 4 * WORD;
/// Runs of each kernel, after one that warms up; the fastest counts.
const RUNS: usize = 8;

/// Two buffers and the kernels that read and copy them.
struct Memory<'d> {
    device: &'d Device,
    bytes: u64,
    buffers: [wgpu::Buffer; 2],
    checksum: wgpu::Buffer,
    params: wgpu::Buffer,
    clock: Option<Clock>,
}

/// Measures the device, taking up to `budget` bytes of its memory.
pub(super) fn measure(device: &Device, software: bool, budget: u64) -> Result<DeviceCeilings> {
    let limits = &device.limits;
    let most = limits
        .max_buffer_size
        .min(limits.max_storage_buffer_binding_size)
        .min(budget / 2);
    let memory = Memory::new(device, BYTES[usize::from(software)].min(most))?;
    memory.dispatch("fill_memory", 0)?;
    let bytes = memory.bytes as f64;
    Ok(DeviceCeilings {
        buffer_bytes: memory.bytes,
        device_clock: memory.clock.is_some(),
        copy_bytes_per_s: 2.0 * bytes / memory.fastest_s("copy_memory")?,
        read_bytes_per_s: bytes / memory.fastest_s("read_memory")?,
        upload_bytes_per_s: Some(memory.upload_rate()?),
    })
}

impl<'d> Memory<'d> {
    fn new(device: &'d Device, bytes: u64) -> Result<Self> {
        let bytes = (bytes / STEP_BYTES).max(1) * STEP_BYTES;
        let buffer = || device.buffer("a buffer to measure with", bytes, Usage::STORAGE | Usage::COPY_DST);
        let params = CeilingParams {
            n_vectors: (bytes / (4 * WORD)) as u32,
            stride: GROUPS * THREADS as u32,
        };
        let memory = Self {
            device,
            bytes,
            buffers: [buffer()?, buffer()?],
            checksum: device.buffer("the checksum", WORD, Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST)?,
            params: device.buffer(
                "the parameters",
                size_of::<CeilingParams>() as u64,
                Usage::UNIFORM | Usage::COPY_DST,
            )?,
            clock: Clock::new(device, 1)?,
        };
        device
            .queue
            .write_buffer(&memory.params, 0, bytemuck::bytes_of(&params));
        Ok(memory)
    }

    /// Runs a kernel that reads the buffer that is not `target`, or writes `target`: its seconds, by the device's clock
    /// where it has one, else by the host's.
    fn dispatch(&self, entry_point: &'static str, target: usize) -> Result<f64> {
        let device = self.device;
        let pipeline = device.pipeline(memory_kernel(entry_point))?;
        // In the order of `layout::CEILING_BINDINGS`.
        let resources = [
            &self.params,
            &self.buffers[1 - target],
            &self.buffers[target],
            &self.checksum,
        ];
        let bindings = device.bind(Group::Ceiling, resources.map(wgpu::Buffer::as_entire_binding));
        let mut encoder = device.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: self.clock.as_ref().and_then(|clock| clock.writes(0, true, true)),
            });
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &bindings, &[]);
            pass.dispatch_workgroups(GROUPS, 1, 1);
        }
        if let Some(clock) = &self.clock {
            clock.record(&mut encoder, 1);
        }
        let started = Instant::now();
        device.wait(Some(device.queue.submit([encoder.finish()])))?;
        let wall_s = started.elapsed().as_secs_f64();
        match &self.clock {
            Some(clock) => Ok(clock.read(device, 1)?[0]),
            None => Ok(wall_s),
        }
    }

    /// Bytes per second from a host buffer that is ready to the first buffer, by the host's clock.
    fn upload_rate(&self) -> Result<f64> {
        let device = self.device;
        let bytes = MAX_STAGING_BYTES.min(self.bytes);
        let staging = device.buffer("the staging memory", bytes, Usage::MAP_WRITE | Usage::COPY_SRC)?;
        device.map(&staging, wgpu::MapMode::Write, None)?;
        // Pages that were never written may be none.
        staging
            .get_mapped_range_mut(0..bytes)
            .map_err(lost)?
            .copy_from_slice(&vec![0xa5; bytes as usize]);
        staging.unmap();
        let n_copies = self.bytes / bytes;
        let copy = |_| {
            let mut encoder = device.device.create_command_encoder(&Default::default());
            for i in 0..n_copies {
                encoder.copy_buffer_to_buffer(&staging, 0, &self.buffers[0], i * bytes, bytes);
            }
            let started = Instant::now();
            device.wait(Some(device.queue.submit([encoder.finish()])))?;
            Ok(started.elapsed().as_secs_f64())
        };
        let seconds = (0..=RUNS).map(copy).collect::<Result<Vec<f64>>>()?;
        let best = seconds.into_iter().fold(f64::INFINITY, f64::min).max(f64::MIN_POSITIVE);
        Ok((n_copies * bytes) as f64 / best)
    }

    fn fastest_s(&self, entry_point: &'static str) -> Result<f64> {
        self.dispatch(entry_point, 1)?;
        (0..RUNS).try_fold(f64::INFINITY, |best, _| {
            Ok(best.min(self.dispatch(entry_point, 1)?).max(f64::MIN_POSITIVE))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::gpu::{GpuOptions, GpuSelection};

    /// The sum of what `fill_memory` writes to so many words.
    fn fill_sum(n_words: u64) -> u32 {
        (0..n_words as u32).fold(0, |sum: u32, i| sum.wrapping_add(i.wrapping_mul(2_654_435_769)))
    }

    fn checksum(memory: &Memory<'_>, target: usize) -> u32 {
        let device = memory.device;
        device.queue.write_buffer(&memory.checksum, 0, &[0; 4]);
        memory.dispatch("read_memory", target).unwrap();
        let readback = device
            .buffer("a word", WORD, Usage::MAP_READ | Usage::COPY_DST)
            .unwrap();
        let mut encoder = device.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&memory.checksum, 0, &readback, 0, WORD);
        device.queue.submit([encoder.finish()]);
        device.read_words(&readback, 1, None).unwrap()[0]
    }

    #[test]
    fn kernels_read_and_copy_to_the_end() {
        let Ok(adapter) = super::super::adapter::choose(&GpuSelection::Any) else {
            return; // tests/gpu_parity.rs says so, or fails where a GPU is demanded
        };
        let options = GpuOptions {
            checked: true,
            timed: true,
            ..GpuOptions::default()
        };
        let device = Device::open(&adapter, &options).unwrap();
        let memory = Memory::new(&device, STEP_BYTES).unwrap();
        let expected = fill_sum(memory.bytes / WORD);
        assert_eq!([checksum(&memory, 1), checksum(&memory, 0)], [0, 0]);
        assert!(memory.dispatch("fill_memory", 0).unwrap() > 0.0);
        assert_eq!([checksum(&memory, 1), checksum(&memory, 0)], [expected, 0]);
        assert!(memory.dispatch("copy_memory", 1).unwrap() > 0.0);
        assert_eq!(checksum(&memory, 0), expected);
    }

    #[test]
    fn rates_are_measured_with_the_devices_clock_and_without() {
        let Ok(adapter) = super::super::adapter::choose(&GpuSelection::Any) else {
            return;
        };
        for timed in [false, true] {
            let options = GpuOptions {
                timed,
                ..GpuOptions::default()
            };
            let device = Device::open(&adapter, &options).unwrap();
            let found = measure(&device, true, 2 * STEP_BYTES).unwrap();
            let has_timestamps = adapter.features().contains(wgpu::Features::TIMESTAMP_QUERY);
            assert_eq!(
                (found.buffer_bytes, found.device_clock),
                (STEP_BYTES, timed && has_timestamps)
            );
            assert!(found.copy_bytes_per_s.is_finite() && found.copy_bytes_per_s > 1e6);
            assert!(found.read_bytes_per_s.is_finite() && found.read_bytes_per_s > 1e6);
            assert!(
                found
                    .upload_bytes_per_s
                    .is_some_and(|rate| rate.is_finite() && rate > 1e6)
            );
        }
    }
}
