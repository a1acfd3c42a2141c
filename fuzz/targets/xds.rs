//! See `waysteer_fuzz::xds`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: waysteer_fuzz::seeds::write(waysteer_fuzz::seeds::xds()),
    |data: &[u8]| waysteer_fuzz::xds::run(data)
);
