//! A device and its queue, with every failure as an [`Error`] and every wait bounded.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use super::layout::{
    BINDINGS, BindingKind, CEILING_BINDINGS, CeilingParams, LOOP_BINDINGS, LoopParams, PROBE_BINDINGS, Params,
};
use super::matrix_units::{self, Trials};
use super::pipeline_cache;
use super::session::Held;
use super::shaders::{Group, Shader};
use crate::backend::DeviceTime;
use crate::backend::gpu_types::{GpuOptions, MatrixUnits};
use crate::error::{Error, Result};

/// Longest wait for one submission on a GPU; each is cut to take a fraction of a second.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The same where a CPU plays the GPU.
const SOFTWARE_TIMEOUT: Duration = Duration::from_secs(3600);

/// What is made use of where it is there: kernels that are compiled once.
const OPTIONAL_FEATURES: wgpu::Features = wgpu::Features::PIPELINE_CACHE;

/// A failure that the driver reported outside any call of ours.
type Failure = Arc<Mutex<Option<String>>>;

/// A device in use.
pub(crate) struct Device {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) limits: wgpu::Limits,
    /// Whether it is a GPU of its own, with memory of its own.
    pub(crate) discrete: bool,
    /// Whether it is software on a CPU.
    pub(crate) software: bool,
    pass: Layout,
    iteration: Layout,
    ceiling: Layout,
    probe: Layout,
    /// Rows and columns of the matrices that it multiplies, where that is asked for.
    side: Option<usize>,
    /// Whether it adds up their products as the proof takes it to, once that was tried.
    adds_up: OnceLock<bool>,
    pub(super) trials: Trials,
    pipelines: Mutex<Vec<(Shader, wgpu::ComputePipeline)>>,
    checked: bool,
    pub(crate) timeout: Duration,
    failure: Failure,
    /// Iterations and their seconds by the device's clock, since they were last asked for.
    timed: Mutex<DeviceTime>,
    cache: Option<(PathBuf, wgpu::PipelineCache)>,
    /// What earlier sessions left.
    held: Mutex<Vec<Held>>,
    /// Bytes of a buffer from which on there is no memory: a fault for tests.
    #[cfg(test)]
    pub(crate) no_memory_from: Option<u64>,
    /// The buffer, counted from 1 from now on, that is refused once: a fault for tests. 0: none.
    #[cfg(test)]
    pub(crate) refuse_nth: std::sync::atomic::AtomicU64,
}

impl Device {
    /// Opens an adapter with all the limits it has, and its clock if that is asked for. No kernel needs a feature beyond
    /// WebGPU's core but those for matrix units.
    pub(crate) fn open(adapter: &wgpu::Adapter, options: &GpuOptions) -> Result<Self> {
        let limits = adapter.limits();
        let info = adapter.get_info();
        let software = info.device_type == wgpu::DeviceType::Cpu;
        // Kernels for software adapters are compiled by LLVM, whose results no cache of pipelines holds.
        let cache_path = if software { None } else { pipeline_cache::path(&info) };
        let mut features = adapter.features() & OPTIONAL_FEATURES;
        features.set(
            wgpu::Features::PIPELINE_CACHE,
            features.contains(wgpu::Features::PIPELINE_CACHE) && cache_path.is_some(),
        );
        if options.timed {
            features |= adapter.features() & wgpu::Features::TIMESTAMP_QUERY;
        }
        let side = match options.matrix_units {
            MatrixUnits::IfFaster if !software => matrix_units::side(adapter),
            MatrixUnits::Always => matrix_units::side(adapter),
            MatrixUnits::IfFaster | MatrixUnits::Never => None,
        };
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if side.is_some() {
            features |= matrix_units::FEATURES;
            // SAFETY: of the experimental features one is asked for, matrices. Kernels use them in the one shape that the
            // adapter lists, come to every operation on them with all threads, and stay inside of what they load and store.
            experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("kohort"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features,
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).map_err(lost)?;
        let failure = Failure::default();
        let noted = Arc::clone(&failure);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| note(&noted, error.to_string())));
        let noted = Arc::clone(&failure);
        device.set_device_lost_callback(move |reason, message| {
            // Dropping the device ends it too, and is no failure.
            if reason != wgpu::DeviceLostReason::Destroyed {
                note(&noted, message);
            }
        });
        let pass = Layout::new(&device, "pass", &BINDINGS, size_of::<Params>(), true);
        let iteration = Layout::new(&device, "iteration", &LOOP_BINDINGS, size_of::<LoopParams>(), false);
        let ceiling = Layout::new(&device, "ceiling", &CEILING_BINDINGS, size_of::<CeilingParams>(), false);
        let probe = Layout::new(&device, "probe", &PROBE_BINDINGS, 0, false);
        let cache = cache_path
            .filter(|_| features.contains(wgpu::Features::PIPELINE_CACHE))
            .map(|path| {
                let cache = open_cache(&device, &path);
                (path, cache)
            });
        Ok(Self {
            device,
            queue,
            limits,
            discrete: info.device_type == wgpu::DeviceType::DiscreteGpu,
            software: info.device_type == wgpu::DeviceType::Cpu,
            pass,
            iteration,
            ceiling,
            probe,
            side,
            adds_up: OnceLock::new(),
            trials: Trials::default(),
            pipelines: Mutex::default(),
            checked: options.checked,
            timeout: if software { SOFTWARE_TIMEOUT } else { TIMEOUT },
            failure,
            timed: Mutex::default(),
            cache,
            held: Mutex::default(),
            #[cfg(test)]
            no_memory_from: None,
            #[cfg(test)]
            refuse_nth: std::sync::atomic::AtomicU64::new(0),
        })
    }

    /// Runs `work`; a panic inside it (wgpu panics where a device is lost while it waits) is a lost device. One that was
    /// lost stays so.
    pub(crate) fn guarded<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let done = std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let message = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(lost(message.unwrap_or("unknown reason")))
        });
        if let Err(Error::DeviceLost { reason }) = &done {
            note(&self.failure, reason.clone());
        }
        done
    }

    /// Rows and columns of the matrices that kernels may have it multiply: none where it was not opened for that, or has no
    /// units that add up as the proof takes them to.
    pub(super) fn matrix_side(&self) -> Option<usize> {
        // A kernel that the driver does not take says that it is not up to it, and is no failure.
        let adds_up = |side| {
            *self
                .adds_up
                .get_or_init(|| matrix_units::adds_up(self, side).unwrap_or(false))
        };
        self.side.filter(|&side| adds_up(side))
    }

    /// What an earlier session left of a data set. Where none did, what is left of others is let go; else it stays: the runs
    /// of a sweep take turns with the same few.
    pub(super) fn take_held(&self, stamp: u64) -> Option<Held> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let place = held.iter().position(|held| held.stamp == stamp);
        if place.is_none() {
            held.clear();
        }
        place.map(|place| held.swap_remove(place))
    }

    /// Keeps what a session leaves, while the device is good for anything.
    pub(super) fn hold(&self, held: Held) {
        if !self.is_lost() {
            let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|other| other.stamp != held.stamp);
            all.push(held);
        }
    }

    /// Whether it has failed: no session on it can go on.
    pub(crate) fn is_lost(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Makes something; what the driver has against it is an error that names `what` and its size.
    fn create<T>(&self, what: &'static str, bytes: u64, make: impl FnOnce(&wgpu::Device) -> T) -> Result<T> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let made = make(&self.device);
        let failed = [internal, validation, memory].map(|scope| pollster::block_on(scope.pop()));
        match failed.into_iter().flatten().next() {
            None => Ok(made),
            Some(wgpu::Error::OutOfMemory { .. }) => Err(out_of_memory(what, bytes)),
            Some(error) => Err(lost(error)),
        }
    }

    /// Whether this buffer is the one that [`Device::refuse_nth`] means.
    #[cfg(test)]
    fn is_refused(&self) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        let left = self
            .refuse_nth
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        left == Ok(1)
    }

    /// A new buffer of at least one word.
    pub(crate) fn buffer(&self, what: &'static str, bytes: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        let limit = if usage.contains(wgpu::BufferUsages::STORAGE) {
            self.limits
                .max_buffer_size
                .min(self.limits.max_storage_buffer_binding_size)
        } else {
            self.limits.max_buffer_size
        };
        if bytes > limit {
            return Err(Error::DeviceLimit {
                what,
                needed: bytes,
                limit,
            });
        }
        #[cfg(test)]
        if self.is_refused() || self.no_memory_from.is_some_and(|from| bytes >= from) {
            return Err(out_of_memory(what, bytes));
        }
        let descriptor = wgpu::BufferDescriptor {
            label: Some(what),
            size: bytes
                .next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT)
                .max(wgpu::COPY_BUFFER_ALIGNMENT),
            usage,
            mapped_at_creation: false,
        };
        self.create(what, bytes, |device| device.create_buffer(&descriptor))
    }

    /// Whether it was opened with a clock of its own.
    pub(crate) fn has_timestamps(&self) -> bool {
        self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// A new set of timestamps.
    pub(crate) fn query_set(&self, count: u32) -> Result<wgpu::QuerySet> {
        let descriptor = wgpu::QuerySetDescriptor {
            label: Some("the timestamps"),
            ty: wgpu::QueryType::Timestamp,
            count,
        };
        self.create("the timestamps", u64::from(count), |device| {
            device.create_query_set(&descriptor)
        })
    }

    /// Notes the seconds of iterations that were made, on matrix units or without.
    pub(crate) fn add_time(&self, iterations_s: &[f64], on_matrix_units: bool) {
        let mut timed = self.timed.lock().unwrap_or_else(PoisonError::into_inner);
        timed.n_iter += iterations_s.len();
        timed.seconds += iterations_s.iter().sum::<f64>();
        timed.n_on_matrix_units += if on_matrix_units { iterations_s.len() } else { 0 };
    }

    /// What [`Device::add_time`] noted since the last call.
    pub(crate) fn take_time(&self) -> DeviceTime {
        std::mem::take(&mut *self.timed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The pipeline of a kernel, compiled when it is first asked for.
    pub(crate) fn pipeline(&self, shader: Shader) -> Result<wgpu::ComputePipeline> {
        let mut pipelines = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, pipeline)) = pipelines.iter().find(|(known, _)| *known == shader) {
            return Ok(pipeline.clone());
        }
        let pipeline = self.create("a kernel", shader.source.len() as u64, |device| {
            self.compile(device, &shader)
        })?;
        pipelines.push((shader, pipeline.clone()));
        if let Some((path, cache)) = &self.cache
            && let Some(data) = cache.get_data()
        {
            pipeline_cache::save(path, &data);
        }
        Ok(pipeline)
    }

    fn compile(&self, device: &wgpu::Device, shader: &Shader) -> wgpu::ComputePipeline {
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(shader.entry_point),
            source: wgpu::ShaderSource::Wgsl(shader.source.as_str().into()),
        };
        let module = if self.checked {
            device.create_shader_module(descriptor)
        } else {
            // SAFETY: the kernels are our own. Indices follow from `Params`, which the host derives from the sizes of
            // the buffers it binds; each loop ends, as its bound is a parameter or a constant; no divisor is 0. The
            // tests run the same text with the checks on.
            unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
        };
        device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(shader.entry_point),
            layout: Some(&self.layout(shader.group).pipeline),
            module: &module,
            entry_point: Some(shader.entry_point),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &shader.constants,
                zero_initialize_workgroup_memory: self.checked,
            },
            cache: self.cache.as_ref().map(|(_, cache)| cache),
        })
    }

    fn layout(&self, group: Group) -> &Layout {
        match group {
            Group::Pass => &self.pass,
            Group::Iteration => &self.iteration,
            Group::Ceiling => &self.ceiling,
            Group::Probe => &self.probe,
        }
    }

    /// Binds resources to kernels of a group, in the order of its table in [`layout`](super::layout).
    pub(crate) fn bind<const N: usize>(
        &self,
        group: Group,
        resources: [wgpu::BindingResource<'_>; N],
    ) -> wgpu::BindGroup {
        let entries: Vec<_> = resources
            .into_iter()
            .zip(0..)
            .map(|(resource, binding)| wgpu::BindGroupEntry { binding, resource })
            .collect();
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &self.layout(group).bind_group,
            entries: &entries,
        })
    }

    /// Waits until a submission (or all there are) is done.
    pub(crate) fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let polled = self.device.poll(wgpu::PollType::Wait {
            submission_index: submission,
            timeout: Some(self.timeout),
        });
        // What failed outside a call of ours may have hit any session: none of them can go on.
        let failed = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match failed {
            Some(reason) => Err(lost(reason)),
            None => polled.map(|_| ()).map_err(|error| match error {
                wgpu::PollError::Timeout => lost(format!("it gave no answer in {} s", self.timeout.as_secs_f32())),
                error => lost(error),
            }),
        }
    }

    /// Maps a whole buffer for the host, after the submission that uses it last.
    pub(crate) fn map(
        &self,
        buffer: &wgpu::Buffer,
        mode: wgpu::MapMode,
        after: Option<wgpu::SubmissionIndex>,
    ) -> Result<()> {
        let (sender, receiver) = mpsc::channel();
        buffer.map_async(mode, .., move |result| {
            // Nobody listens any more where the wait below has failed.
            let _ = sender.send(result);
        });
        self.wait(after)?;
        // The callback may be in the hands of another thread that waits for the same device.
        match receiver.recv_timeout(self.timeout) {
            Ok(Ok(())) => Ok(()),
            _ => Err(lost("a buffer could not be mapped")),
        }
    }

    /// The first `n_words` words of a buffer with the usage `MAP_READ`, after `after`.
    pub(crate) fn read_words(
        &self,
        buffer: &wgpu::Buffer,
        n_words: usize,
        after: Option<wgpu::SubmissionIndex>,
    ) -> Result<Vec<u32>> {
        self.map(buffer, wgpu::MapMode::Read, after)?;
        let words = {
            let view = buffer.get_mapped_range(..(4 * n_words) as u64).map_err(lost)?;
            bytemuck::pod_collect_to_vec(&view)
        };
        buffer.unmap();
        Ok(words)
    }
}

fn out_of_memory(what: &str, bytes: u64) -> Error {
    Error::OutOfMemory {
        what: format!("{what} on the GPU"),
        bytes,
    }
}

/// The cache of pipelines, with what an earlier run kept of it.
fn open_cache(device: &wgpu::Device, path: &Path) -> wgpu::PipelineCache {
    let data = pipeline_cache::load(path);
    let descriptor = wgpu::PipelineCacheDescriptor {
        label: Some("kernels"),
        data: data.as_deref(),
        fallback: true,
    };
    // SAFETY: the data is what `get_data` gave, as far as its hash can tell, from a folder of the user's own; wgpu and
    // the driver check the versions in its head, and do without where these are not theirs.
    unsafe { device.create_pipeline_cache(&descriptor) }
}

fn note(failure: &Failure, message: String) {
    // The first failure is the cause of those that follow.
    failure
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_or_insert(message);
}

/// A failure of the device, with the driver's words on one line.
pub(crate) fn lost(reason: impl std::fmt::Display) -> Error {
    let reason = reason.to_string();
    Error::DeviceLost {
        reason: reason.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

/// The bindings that some kernels have.
struct Layout {
    bind_group: wgpu::BindGroupLayout,
    pipeline: wgpu::PipelineLayout,
}

impl Layout {
    /// A layout whose uniform struct has `uniform_bytes` bytes, at an offset that every dispatch chooses if `dynamic`.
    fn new(
        device: &wgpu::Device,
        label: &'static str,
        bindings: &[(&str, BindingKind)],
        uniform_bytes: usize,
        dynamic: bool,
    ) -> Self {
        let entry = |(&(_, kind), binding): (&(&str, BindingKind), u32)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: match kind {
                    BindingKind::Uniform => wgpu::BufferBindingType::Uniform,
                    BindingKind::Read => wgpu::BufferBindingType::Storage { read_only: true },
                    BindingKind::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
                },
                has_dynamic_offset: dynamic && kind == BindingKind::Uniform,
                min_binding_size: (kind == BindingKind::Uniform)
                    .then(|| wgpu::BufferSize::new(uniform_bytes as u64))
                    .flatten(),
            },
            count: None,
        };
        let entries: Vec<_> = bindings.iter().zip(0..).map(entry).collect();
        let bind_group = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(label),
            entries: &entries,
        });
        let pipeline = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(label),
            bind_group_layouts: &[Some(&bind_group)],
            immediate_size: 0,
        });
        Self { bind_group, pipeline }
    }
}
