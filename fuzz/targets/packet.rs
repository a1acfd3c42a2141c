//! See `waysteer_fuzz::packet`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: waysteer_fuzz::seeds::write(waysteer_fuzz::seeds::packets()),
    |data: &[u8]| waysteer_fuzz::packet::run(data)
);
