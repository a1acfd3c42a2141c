//! Whether the maps that an earlier agent has left are those that these programs want.

use std::collections::BTreeMap;
use std::fmt;

use aya::maps::{MapError, MapInfo};
use thiserror::Error;

use super::load::LoadOptions;
use super::object::Object;
use super::pins::{Generation, PinError};

/// What two maps must agree in to be exchanged for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    pub kind: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub capacity: u32,
    pub flags: u32,
}

/// The shapes of an object's maps, by name.
#[derive(Clone, Debug)]
pub struct Layout {
    maps: BTreeMap<&'static str, MapShape>,
}

/// Why maps do not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    Missing {
        map: &'static str,
    },
    Differs {
        map: &'static str,
        found: MapShape,
        wanted: MapShape,
    },
}

#[derive(Debug, Error)]
pub enum LayoutError {
    #[error("the object of the kernel programs cannot be read")]
    Object(#[from] aya_obj::ParseError),
    #[error("the object holds no map {map}: it was built for another version")]
    NoMap { map: &'static str },
    #[error("cannot look at the map pinned at {path}")]
    Info {
        path: String,
        #[source]
        source: MapError,
    },
    #[error(transparent)]
    Pins(#[from] PinError),
}

impl Layout {
    /// Of `maps` of the object, as they would be loaded.
    pub fn of(
        object: &Object,
        options: &LoadOptions,
        maps: &[&'static str],
    ) -> Result<Self, LayoutError> {
        let parsed = aya_obj::Object::parse(object.bytes())?;
        let shape = |map: &&'static str| {
            let found = parsed.maps.get(*map);
            let found = found.ok_or(LayoutError::NoMap { map })?;
            let capacity = options.capacities.get(map).copied();
            let shape = MapShape {
                kind: found.map_type(),
                key_size: found.key_size(),
                value_size: found.value_size(),
                capacity: capacity.unwrap_or(found.max_entries()),
                flags: found.map_flags(),
            };
            Ok((*map, shape))
        };
        let maps = maps.iter().map(shape).collect::<Result<_, LayoutError>>()?;
        Ok(Self { maps })
    }

    /// Why a generation's maps cannot be used; nothing where they can.
    pub fn misfits(&self, generation: &Generation) -> Result<Vec<Misfit>, LayoutError> {
        let maps = self.maps.keys().copied();
        let misfits = maps.map(|map| self.misfit(generation, map));
        Ok(misfits
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect())
    }

    /// The same of one map.
    pub fn misfit(
        &self,
        generation: &Generation,
        map: &'static str,
    ) -> Result<Option<Misfit>, LayoutError> {
        let wanted = *self.maps.get(map).ok_or(LayoutError::NoMap { map })?;
        let path = generation.map(map);
        if !path.exists() {
            return Ok(Some(Misfit::Missing { map }));
        }
        let info = MapInfo::from_pin(&path);
        let found = info.and_then(|info| shape(&info));
        let found = found.map_err(|source| LayoutError::Info {
            path: path.display().to_string(),
            source,
        })?;
        Ok((found != wanted).then_some(Misfit::Differs { map, found, wanted }))
    }
}

fn shape(info: &MapInfo) -> Result<MapShape, MapError> {
    Ok(MapShape {
        kind: info.map_type()? as u32,
        key_size: info.key_size(),
        value_size: info.value_size(),
        capacity: info.max_entries(),
        flags: info.map_flags(),
    })
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { map } => write!(f, "{map} is missing"),
            Self::Differs { map, found, wanted } => {
                write!(f, "{map} is {found} and should be {wanted}")
            }
        }
    }
}

impl fmt::Display for MapShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            key_size,
            value_size,
            capacity,
            flags,
        } = self;
        write!(
            f,
            "type {kind}, {capacity} entries of {key_size} and {value_size} bytes, flags {flags:#x}"
        )
    }
}
