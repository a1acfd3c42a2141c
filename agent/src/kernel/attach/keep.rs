//! A link that is pinned, or held where nothing is pinned.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use super::{AttachError, Spot};
use crate::kernel::link::{Link, LinkInfo, Place};
use crate::kernel::pins;

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

/// Gives the link that is pinned there the program of now, if it is where it should be and the
/// program runs then; else attaches a new one and pins it in its place.
pub(super) fn keep(
    pin: Option<PathBuf>,
    program: BorrowedFd<'_>,
    is_right: impl Fn(Place) -> bool,
    is_settled: impl Fn(LinkInfo) -> io::Result<bool>,
    attach: impl Fn() -> io::Result<Link>,
    refused: impl Fn(io::Error) -> AttachError,
) -> Result<Kept, AttachError> {
    let Some(pin) = pin else {
        return Ok(Kept {
            how: How::Held(attach().map_err(refused)?),
            is_new: true,
        });
    };
    let old = open(&pin).map_err(&refused)?;
    if let Some(link) = &old {
        let before = link.info().map_err(&refused)?;
        if is_right(before.place) {
            link.update(program).map_err(&refused)?;
            if is_settled(before).map_err(&refused)? {
                return Ok(Kept {
                    how: How::Pinned(pin),
                    is_new: false,
                });
            }
        }
    }
    let link = attach().map_err(&refused)?;
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

/// What is pinned there, if it is where it should be and has this very program already.
pub(super) fn current(
    pin: Option<&Path>,
    program_id: u32,
    is_right: impl Fn(Place) -> bool,
) -> io::Result<Option<Kept>> {
    let Some(pin) = pin else {
        return Ok(None);
    };
    let Some(link) = open(pin)? else {
        return Ok(None);
    };
    let info = link.info()?;
    let is_current = info.program == program_id && is_right(info.place);
    Ok(is_current.then(|| Kept::pinned(pin.to_owned())))
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

impl Spot {
    pub(super) fn is_at(&self, place: Place) -> bool {
        place
            == Place::Device {
                index: self.index,
                attach_type: self.hook.number(),
            }
    }
}

fn open(pin: &Path) -> io::Result<Option<Link>> {
    match Link::open(pin) {
        Ok(link) => Ok(Some(link)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
