//! A link that is pinned, or held where nothing is pinned.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use super::AttachError;
use crate::kernel::link::{Link, LinkInfo, Place};
use crate::kernel::pins;

/// Where a program should be, and how it gets there.
pub(super) trait Position {
    fn program(&self) -> BorrowedFd<'_>;
    fn program_id(&self) -> u32;
    fn is_at(&self, place: Place) -> bool;
    /// Whether, after an exchange, the program runs and the one before does not.
    fn is_settled(&self, before: LinkInfo) -> io::Result<bool>;
    fn attach(&self) -> io::Result<Link>;
    fn refused(&self, source: io::Error) -> AttachError;
}

#[derive(Debug)]
pub(super) struct Kept {
    how: How,
    /// Attached by this call, not found.
    pub(super) is_new: bool,
}

#[derive(Debug)]
enum How {
    Held(Link),
    Pinned(PathBuf),
}

/// Gives the link that is pinned there, or that an older generation has, the program of now, if it
/// is where it should be; else attaches a new one and pins it.
pub(super) fn keep(
    pin: Option<PathBuf>,
    elders: &[PathBuf],
    position: &impl Position,
) -> Result<Kept, AttachError> {
    let refused = |source| position.refused(source);
    let Some(pin) = pin else {
        return Ok(Kept {
            how: How::Held(position.attach().map_err(refused)?),
            is_new: true,
        });
    };
    for path in std::iter::once(&pin).chain(elders) {
        let Some(link) = open(path).map_err(refused)? else {
            continue;
        };
        if exchange(&link, position).map_err(refused)? {
            if *path != pin {
                // Until here it counts as the older generation's, and would be exchanged again.
                pins::rename(path, &pin)?;
            }
            return Ok(Kept {
                how: How::Pinned(pin),
                is_new: false,
            });
        }
    }
    let old = open(&pin).map_err(refused)?;
    let link = position.attach().map_err(refused)?;
    pins::replace(&pin, |path| link.pin(path))?;
    if let Some(old) = old {
        // Unpinned it would end too, some time later.
        old.detach().map_err(refused)?;
    }
    Ok(Kept {
        how: How::Pinned(pin),
        is_new: true,
    })
}

/// Takes off what is pinned there, and unpins it.
pub(super) fn detach_pin(pin: &Path) -> Result<(), AttachError> {
    let refused = |source| AttachError::Pinned {
        path: pin.to_owned(),
        source,
    };
    if let Some(link) = open(pin).map_err(refused)? {
        // Unpinning alone would do, some time later.
        link.detach().map_err(refused)?;
    }
    Ok(pins::unpin(pin)?)
}

/// Takes off all that is pinned in a directory, and removes it. Goes on after an error, and returns
/// the first.
pub(super) fn detach_directory(directory: &Path) -> Result<(), AttachError> {
    let mut result = Ok(());
    for pin in pins::in_directory(directory)? {
        result = result.and(detach_pin(&pin));
    }
    result?;
    Ok(pins::remove(directory)?)
}

impl Kept {
    /// A link that is pinned there.
    pub(super) fn pinned(pin: PathBuf) -> Self {
        Self {
            how: How::Pinned(pin),
            is_new: false,
        }
    }

    /// Keeps another link, and takes the one before off.
    pub(super) fn change(&mut self, link: Link) -> Result<(), AttachError> {
        match &mut self.how {
            How::Held(held) => {
                let old = std::mem::replace(held, link);
                old.detach().map_err(AttachError::Detach)
            }
            How::Pinned(pin) => {
                let refused = |source| AttachError::Pinned {
                    path: pin.clone(),
                    source,
                };
                let old = open(pin).map_err(refused)?;
                pins::replace(pin, |path| link.pin(path))?;
                match old {
                    Some(old) => old.detach().map_err(refused),
                    None => Ok(()),
                }
            }
        }
    }

    pub(super) fn detach(self) -> Result<(), AttachError> {
        match self.how {
            How::Held(link) => link.detach().map_err(AttachError::Detach),
            How::Pinned(pin) => detach_pin(&pin),
        }
    }

    pub(super) fn is_pinned_at(&self, path: &Path) -> bool {
        match &self.how {
            How::Held(_) => false,
            How::Pinned(pin) => pin == path,
        }
    }
}

/// False where the link is of no use.
fn exchange(link: &Link, position: &impl Position) -> io::Result<bool> {
    let before = link.info()?;
    if !position.is_at(before.place) {
        return Ok(false);
    }
    if before.program == position.program_id() {
        return Ok(true);
    }
    link.update(position.program())?;
    position.is_settled(before)
}

fn open(pin: &Path) -> io::Result<Option<Link>> {
    match Link::open(pin) {
        Ok(link) => Ok(Some(link)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
