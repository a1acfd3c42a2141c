//! The programs run by `BPF_PROG_TEST_RUN`: nothing is attached, nobody sends anything.

mod agreement;
mod drops;
mod egress;
mod explained;
mod frame;
mod ingress;
mod many;
mod policies;
mod random;
mod runner;
