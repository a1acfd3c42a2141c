//! Of `expedite_rcu`.

use super::*;

#[test]
fn grace_periods_can_be_left_as_they_are() {
    let text = format!("expedite_rcu = false\n{MINIMAL}");
    let written = Written::new("c.toml", &text);
    assert_eq!(written.load().unwrap().expedite_rcu, ExpediteRcu::Never);
    let config = Config::load(Some(&written.0), &args(&["--expedite-rcu"])).unwrap();
    assert_eq!(
        config.expedite_rcu.file(),
        Some(Path::new(EXPEDITE_RCU_FILE))
    );
    assert_eq!(
        Written::new("c.toml", &format!("expedite_rcu_file = \"x\"\n{text}")).error(),
        "expedite_rcu_file means nothing with expedite_rcu = false: remove it"
    );
}
