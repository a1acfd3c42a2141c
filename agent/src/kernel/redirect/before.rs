//! How a netns was before us.

use std::collections::BTreeMap;

use rtnetlink::Handle;
use serde::{Deserialize, Serialize};

use super::{OFF, ON, RedirectError, SYSCTLS, loopback_is_up, rules, sysctls};

/// What a redirection changes and has to put back. It is looked for before anything is changed, so
/// that it can be written down first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Values of the parameters that had another one than ours, by name.
    #[serde(default)]
    sysctls: BTreeMap<String, String>,
    #[serde(default)]
    loopback_was_down: bool,
}

impl Before {
    /// In the calling thread's netns, which is the socket's. What is known from before stands: the
    /// netns is ours already.
    pub(super) async fn look(handle: &Handle, known: Option<Self>) -> Result<Self, RedirectError> {
        let mut before = match known {
            Some(known) => known,
            None if rules::are_there(handle).await? => Self::usual(),
            None => Self {
                sysctls: BTreeMap::new(),
                loopback_was_down: !loopback_is_up(handle).await?,
            },
        };
        for sysctl in sysctls() {
            let found = sysctl.read()?;
            if found != ON {
                let known = before.sysctls.entry(sysctl.0.to_owned());
                known.or_insert(found);
            }
        }
        Ok(before)
    }

    /// Where nothing was written down and our rules are there, so that the values of now say
    /// nothing: a netns as the kernel makes it, with `lo` as it is.
    pub fn usual() -> Self {
        let sysctls = SYSCTLS.map(|sysctl| (sysctl.0.to_owned(), OFF.to_owned()));
        Self {
            sysctls: sysctls.into(),
            loopback_was_down: false,
        }
    }

    pub(super) fn loopback_was_down(&self) -> bool {
        self.loopback_was_down
    }

    /// What [`Self::restore_sysctls`] would put back, in words.
    pub(super) fn changed(&self) -> Result<Vec<String>, RedirectError> {
        let mut changed = Vec::new();
        for sysctl in sysctls() {
            if let Some(previous) = self.sysctls.get(sysctl.0)
                && sysctl.read()? == ON
            {
                changed.push(format!("sysctl {} back to {previous}", sysctl.0));
            }
        }
        Ok(changed)
    }

    /// Each parameter that still has our value gets its own back.
    pub(super) fn restore_sysctls(&self) -> Result<(), RedirectError> {
        let mut result = Ok(());
        for sysctl in sysctls() {
            let Some(previous) = self.sysctls.get(sysctl.0) else {
                continue;
            };
            let restored = sysctl.read().and_then(|found| match found.as_str() {
                ON => sysctl.write(previous),
                // Somebody else has had a say since.
                _ => Ok(()),
            });
            result = result.and(restored.map_err(RedirectError::from));
        }
        result
    }
}
