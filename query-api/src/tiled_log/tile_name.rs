//! How a path names a tile.

use axum::http::StatusCode;
use contract::position::Position;
use event_log::transparency::merkle::{HEIGHT, TILE_WIDTH, Tile, TileId};
use runtime::http::problem::Problem;

/// Above it, no tile has an index.
const LEVELS: u8 = 64;

/// A tile, or the first hashes of one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TileName {
    pub id: TileId,
    /// Number of hashes.
    pub width: usize,
}

impl TileName {
    /// Only the canonical form names a tile, so that each has one address. `Tile::from_path` would panic at a level of 64 and at a width
    /// of 0.
    pub fn parse(level: &str, index: &str) -> Option<Self> {
        let (elements, width) = match index.split_once(".p/") {
            Some((elements, width)) => (elements, width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?),
            None => (index, TILE_WIDTH),
        };
        let number = |elements: &str| {
            elements.split('/').try_fold(0_u64, |number, element| {
                let element: u64 = element.trim_start_matches('x').parse().ok()?;
                number.checked_mul(1000)?.checked_add(element)
            })
        };
        let (level_number, number) = (level.parse().ok().filter(|level| *level < LEVELS)?, number(elements)?);
        let tile = Tile::new(HEIGHT, level_number, number, u32::try_from(width).ok()?, false);
        let is_canonical = tile.path() == format!("tile/{HEIGHT}/{level}/{index}");
        let id = TileId { level: level_number.into(), index: i64::try_from(number).ok()? };
        is_canonical.then_some(Self { id, width })
    }

    /// The position before the first event of the entry bundle with this name; `None` beyond all positions.
    pub fn first_leaf(self) -> Option<Position> {
        self.id.index.checked_mul(i64::try_from(TILE_WIDTH).ok()?)?.try_into().ok()
    }
}

pub fn unknown() -> Problem {
    let detail = "The signed log has no tile of this name and width.";
    Problem::new(StatusCode::NOT_FOUND, "unknown-tile", "Unknown tile", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_has_one_name() {
        for (level, index, number, width) in [
            ("0", "000", 0, 256),
            ("0", "000.p/1", 0, 1),
            ("1", "234.p/255", 234, 255),
            ("63", "x001/x234/067", 1_234_067, 256),
            ("2", "x001/x234/067.p/12", 1_234_067, 12),
            ("0", "x009/x223/x372/x036/x854/x775/807", i64::MAX, 256),
        ] {
            let id = TileId { level: level.parse().unwrap(), index: number };
            assert_eq!(TileName::parse(level, index), Some(TileName { id, width }), "{level} {index}");
        }
    }

    #[test]
    fn other_spellings_name_no_tile() {
        for (level, index) in [
            ("00", "000"),
            ("+1", "000"),
            ("-1", "000"),
            ("64", "000"),
            ("256", "000"),
            ("data", "000"),
            ("", "000"),
            ("0", ""),
            ("0", "0"),
            ("0", "00"),
            ("0", "0000"),
            ("0", "x000/001"),
            ("0", "001/234"),
            ("0", "x001/x234"),
            ("0", "xx01/234"),
            ("0", "x001//234"),
            ("0", "x001/234/"),
            ("0", "/000"),
            ("0", "+01"),
            ("0", "000.p"),
            ("0", "000.p/"),
            ("0", "000.p/0"),
            ("0", "000.p/00"),
            ("0", "000.p/01"),
            ("0", "000.p/+1"),
            ("0", "000.p/256"),
            ("0", "000.p/1.p/1"),
            ("0", "000.p/1/"),
            ("0", "x009/x223/x372/x036/x854/x775/808"),
            ("0", "x018/x446/x744/x073/x709/x551/616"),
        ] {
            assert_eq!(TileName::parse(level, index), None, "{level} {index}");
        }
    }
}
