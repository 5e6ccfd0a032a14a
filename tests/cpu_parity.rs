//! The CPU backend against the scalar reference, bit for bit: every instruction set of this machine, several thread
//! counts.

mod common;

use common::{Case, Values, cases, check_backend};
use kohort::backend::Backend;
use kohort::backend::cpu::CpuBackend;
use kohort::backend::scalar::ScalarBackend;
use kohort::tiles::Centroids;

#[test]
fn every_instruction_set_and_thread_count_is_bit_equal() {
    for threads in [1, 2, 7] {
        for backend in CpuBackend::for_each_isa(threads).unwrap() {
            for case in cases() {
                check_backend(&backend, &case);
            }
        }
    }
}

/// The sums of a session follow the rows that moved; over a whole run they must stay what a recount gives.
#[test]
fn sums_kept_over_many_passes_equal_a_recount() {
    let case = Case::new(3000, 4, 9, Values::Small).weighted().chunks_of(5);
    let data = case.data();
    let backend = CpuBackend::new(2).unwrap();
    let (mut ours, mut reference) = (backend.open(&data, 9).unwrap(), ScalarBackend.open(&data, 9).unwrap());
    let mut centroids = case.centroids(&data);
    for _ in 0..12 {
        let pass = ours.assign(&centroids).unwrap();
        assert_eq!(pass.partial, reference.assign(&centroids).unwrap().partial);
        centroids = pass.partial.centroids(&centroids);
    }
    // Another number of clusters starts the sums anew; `n_moved` still counts against the last labels.
    let fewer = Centroids::new(4, centroids.values()[..5 * 4].to_vec());
    let (a, b) = (ours.assign(&fewer).unwrap(), reference.assign(&fewer).unwrap());
    assert_eq!((a.partial, a.n_moved), (b.partial, b.n_moved));
}
