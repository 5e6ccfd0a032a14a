//! The matrix unit of Intel's processors (AMX): eight registers of sixteen rows of 64 bytes, and an instruction that
//! multiplies two of them, 16,384 products of 8-bit integers at a time, and adds these up in a third.
//!
//! What Rust has for it is not stable yet, so instructions are written out. Compiled code uses none of the registers: what
//! one instruction leaves there, the next one finds.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::cell::Cell;
use std::sync::OnceLock;

use super::kernel::Line;

/// Rows of a register, and 32-bit integers in each.
pub(super) const SIDE: usize = 16;

/// Whether this process may use the unit. The system has to be asked, once.
pub(super) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| has_unit() && is_permitted())
}

/// Whether the processor has it, with registers of the size that is told here.
#[allow(
    unused_unsafe,
    reason = "to ask the processor is safe in newer versions of Rust alone"
)]
fn has_unit() -> bool {
    const FEATURES: u32 = 7;
    const REGISTERS: u32 = 0x1d;
    /// Registers, and products of 8-bit integers.
    const TILE_AND_INT8: u32 = 0b11 << 24;
    // SAFETY: every such processor can be asked.
    let ask = |leaf, sub_leaf| unsafe { __cpuid_count(leaf, sub_leaf) };
    if ask(0, 0).eax < REGISTERS || ask(FEATURES, 0).edx & TILE_AND_INT8 != TILE_AND_INT8 {
        return false;
    }
    let palette = ask(REGISTERS, 1);
    let (row_bytes, n_registers, rows) = (palette.ebx & 0xffff, palette.ebx >> 16, palette.ecx & 0xffff);
    (row_bytes, n_registers, rows) == (size_of::<Line>() as u32, N_REGISTERS as u32, SIDE as u32)
}

/// Linux keeps these registers, which are large, for processes that ask.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: this changes what the process may do, and no memory.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// How other systems are asked is not known here.
#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

const N_REGISTERS: usize = 8;

/// How the registers are cut, see `ldtilecfg`: all of them whole.
#[repr(C, align(64))]
struct Cut {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static WHOLE: Cut = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut register = 0;
    while register < N_REGISTERS {
        row_bytes[register] = size_of::<Line>() as u16;
        rows[register] = SIDE as u8;
        register += 1;
    }
    Cut {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes,
        rows,
    }
};

thread_local! {
    /// This thread's registers are cut.
    static IN_USE: Cell<bool> = const { Cell::new(false) };
}

/// Takes the unit into use on this thread, until [`leave`].
///
/// # Safety
/// It must be [available](is_available).
#[inline(always)]
pub(super) unsafe fn enter() {
    if !IN_USE.replace(true) {
        // SAFETY: the caller's promise; what is read is there.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const WHOLE, options(nostack, readonly)) };
    }
}

/// Ends the use on this thread: registers in use are saved with each switch to another thread.
pub(super) fn leave() {
    if IN_USE.replace(false) {
        // SAFETY: there is a unit, since it is in use.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Fills a register with zeros.
///
/// # Safety
/// The unit is in use on this thread; `REGISTER` is below 8 (for each of these functions).
#[inline(always)]
pub(super) unsafe fn zero<const REGISTER: usize>() {
    // SAFETY: the caller's promise.
    unsafe { asm!("tilezero tmm{}", const REGISTER, options(nostack, nomem)) };
}

/// Fills a register with sixteen lines, so many apart.
///
/// # Safety
/// As [`zero`].
#[inline(always)]
pub(super) unsafe fn load<const REGISTER: usize>(from: &[Line], gap: usize) {
    let from = &from[..(SIDE - 1) * gap + 1];
    // SAFETY: the caller's promise; the lines are there.
    unsafe {
        asm!(
            "tileloadd tmm{}, [{} + {}]",
            const REGISTER, in(reg) from.as_ptr(), in(reg) gap * size_of::<Line>(), options(nostack, readonly)
        );
    }
}

/// Writes a register to sixteen lines.
///
/// # Safety
/// As [`zero`].
#[inline(always)]
pub(super) unsafe fn store<const REGISTER: usize>(to: &mut [Line; SIDE]) {
    // SAFETY: the caller's promise; the lines are there.
    unsafe {
        asm!(
            "tilestored [{} + {}], tmm{}",
            in(reg) to.as_mut_ptr(), in(reg) size_of::<Line>(), const REGISTER, options(nostack)
        );
    }
}

/// Adds to number `(i, j)` of register `SUM` the products of line `i` of register `A` with what stands in column `j` of
/// register `B`: bytes as signed integers, four in a column of each line.
///
/// # Safety
/// As [`zero`].
#[inline(always)]
pub(super) unsafe fn add_products<const SUM: usize, const A: usize, const B: usize>() {
    // SAFETY: the caller's promise.
    unsafe { asm!("tdpbssd tmm{}, tmm{}, tmm{}", const SUM, const A, const B, options(nostack, nomem)) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_add_up_as_told() {
        if !is_available() {
            return;
        }
        let byte = |line: usize, at: usize| ((line * 64 + at) * 37 % 256) as u8 as i8;
        let lines = |turn: usize| -> Vec<Line> {
            let word =
                |line, word| u32::from_le_bytes(std::array::from_fn(|at| byte(line, 4 * word + at + turn) as u8));
            (0..SIDE)
                .map(|line| Line(std::array::from_fn(|at| word(line, at))))
                .collect()
        };
        let (a, b) = (lines(0), lines(5));
        // Every second line is another one.
        let spread: Vec<Line> = b.iter().flat_map(|line| [*line, Line([7; SIDE])]).collect();
        let mut out = [Line([0; SIDE]); SIDE];
        // SAFETY: the unit is there.
        unsafe {
            enter();
            zero::<2>();
            load::<6>(&a, 1);
            load::<7>(&spread, 2);
            add_products::<2, 6, 7>();
            add_products::<2, 6, 7>();
            store::<2>(&mut out);
        }
        leave();
        for (i, line) in out.iter().enumerate() {
            for (j, &sum) in line.0.iter().enumerate() {
                let of = |at: usize| i32::from(byte(i, at)) * i32::from(byte(at / 4, 4 * j + at % 4 + 5));
                assert_eq!(sum as i32, 2 * (0..64).map(of).sum::<i32>());
            }
        }
    }
}
