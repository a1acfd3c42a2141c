//! What is in the object.

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _, SectionKind};

/// The size of one BPF instruction.
const INSTRUCTION: u64 = 8;

/// Prints every section that reaches the kernel: code with its instructions, and data.
pub(super) fn print(bytes: &[u8]) -> Result<()> {
    let file = object::File::parse(bytes).context("the object is not an ELF file")?;
    println!("{:<24} {:>10} {:>13}", "section", "bytes", "instructions");
    for section in file.sections().filter(|section| section.size() > 0) {
        let name = section.name().context("a section's name")?;
        let instructions = match section.kind() {
            SectionKind::Text => (section.size() / INSTRUCTION).to_string(),
            _ if reaches_the_kernel(name) => "-".to_owned(),
            _ => continue,
        };
        println!("{name:<24} {:>10} {instructions:>13}", section.size());
    }
    Ok(())
}

/// Symbols, relocations and DWARF stay in the file.
fn reaches_the_kernel(name: &str) -> bool {
    [
        "maps", ".maps", ".rodata", ".data", ".bss", ".BTF", "license",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
}
