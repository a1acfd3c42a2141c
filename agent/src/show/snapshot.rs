//! Pages as terminals of 80 and 200 columns, and files, show them: `agent/src/show/snapshots`. What has
//! changed on purpose is written there by a run with `WAYSTEER_SNAPSHOTS=write`, and looked at.

use std::path::Path;

/// The page at each width, which must be as it was kept.
pub(super) fn keep(name: &str, page: impl Fn(Option<usize>) -> String) {
    for (kind, width) in [("80", Some(80)), ("200", Some(200)), ("piped", None)] {
        let text = anstream::adapter::strip_str(&page(width)).to_string();
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/show/snapshots");
        let file = directory.join(format!("{name}-{kind}.txt"));
        if std::env::var_os("WAYSTEER_SNAPSHOTS").is_some_and(|value| value == "write") {
            std::fs::create_dir_all(&directory).expect("a directory");
            std::fs::write(&file, &text).expect("a file");
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(text, kept, "{} is another now", file.display());
        if let Some(width) = width {
            let wide = text.lines().filter(|line| line.chars().count() > width);
            let wide: Vec<&str> = wide.collect();
            assert!(wide.is_empty(), "wider than {width}: {wide:?}");
        }
    }
}
