//! The bytes of settings and retentions.
//! Owns: their fields within a record. May touch: `settings`, `varint`.
//! Never: takes a value that no call could set.

use super::put_all;
use crate::settings::{Retention, Settings};
use crate::varint::take;

/// Which kinds of peer have a retention: user, group, system, business.
const RETENTION_BITS: u8 = 0b1111;

/// The flags of a record of settings.
pub(super) fn flags(settings: &Settings) -> u8 {
    let bounded = settings.retentions().map(|retention| u8::from(retention.is_bounded()));
    bounded.iter().enumerate().fold(0, |flags, (kind, is_bounded)| flags | is_bounded << kind)
}

/// What keeps everything is left out.
pub(super) fn put_settings(out: &mut Vec<u8>, settings: &Settings) {
    let sizes = [settings.body_bytes_max, settings.mentions_max, settings.latest_bytes_max];
    put_all(out, &[settings.dedup_window_secs]);
    put_all(out, &sizes.map(|size| size as u64));
    settings.retentions().iter().filter(|one| one.is_bounded()).for_each(|one| put_retention(out, one));
}

pub(super) fn take_settings(flags: u8, input: &mut &[u8]) -> Option<Settings> {
    (flags & !RETENTION_BITS == 0).then_some(())?;
    let settings = Settings::default()
        .dedup_window_secs(take(input)?)
        .body_bytes_max(usize::try_from(take(input)?).ok()?)
        .mentions_max(usize::try_from(take(input)?).ok()?)
        .latest_bytes_max(usize::try_from(take(input)?).ok()?);
    let mut retention = |kind: u8| match flags >> kind & 1 {
        0 => Some(Retention::default()),
        _ => take_retention(input).filter(Retention::is_bounded),
    };
    let settings = settings
        .retention_user(retention(0)?)
        .retention_group(retention(1)?)
        .retention_system(retention(2)?)
        .retention_business(retention(3)?);
    settings.check().ok()?;
    Some(settings)
}

pub(super) fn put_retention(out: &mut Vec<u8>, retention: &Retention) {
    put_all(out, &[retention.age_secs, retention.count, retention.body_bytes]);
}

pub(super) fn take_retention(input: &mut &[u8]) -> Option<Retention> {
    let retention = Retention::default().age_secs(take(input)?).count(take(input)?).body_bytes(take(input)?);
    retention.check().ok()?;
    Some(retention)
}
