//! The `Accept` header: which of two media types a client prefers (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header};

/// Whether the client names `wanted` itself, and gives it at least the weight of `default`. Wildcards alone do not select it.
/// If the client accepts neither, it gets the default.
pub fn prefers(headers: &HeaderMap, wanted: &str, default: &str) -> bool {
    let ranges = ranges(headers);
    weight_of(&ranges, wanted).is_some_and(|weight| weight > 0.0 && weight >= weight_for(&ranges, default))
}

/// The media ranges, without their parameters, and their weights. A range with an invalid weight counts for nothing.
fn ranges(headers: &HeaderMap) -> Vec<(String, f32)> {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let range = |text: &str| {
        let mut parts = text.split(';').map(|part| part.trim().to_ascii_lowercase());
        let range = parts.next()?;
        let weight = parts.find_map(|parameter| parameter.strip_prefix("q=").map(str::parse));
        let weight = weight.unwrap_or(Ok(1.0)).ok().filter(|weight| (0.0..=1.0).contains(weight))?;
        Some((range, weight))
    };
    values.flat_map(|value| value.split(',')).filter_map(range).collect()
}

/// The weight of exactly this range.
fn weight_of(ranges: &[(String, f32)], range: &str) -> Option<f32> {
    ranges.iter().filter(|(known, _)| known == range).map(|(_, weight)| *weight).reduce(f32::max)
}

/// The weight of a media type, from the most specific range that includes it.
fn weight_for(ranges: &[(String, f32)], media_type: &str) -> f32 {
    let of_its_kind = media_type.split_once('/').map(|(kind, _)| format!("{kind}/*")).unwrap_or_default();
    let mut including = [media_type, &of_its_kind, "*/*"].into_iter();
    including.find_map(|range| weight_of(ranges, range)).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_decide_and_a_weight_of_zero_excludes() {
        let prefers = |accept: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT, value.parse().unwrap());
            }
            super::prefers(&headers, "application/x-ndjson", "application/json")
        };
        for accepted in [
            &["application/x-ndjson"][..],
            &["text/html, Application/X-NDJSON;q=0.9"],
            &["application/x-ndjson ; charset=utf-8 ; Q=0.001"],
            &["application/json, application/x-ndjson"],
            &["application/x-ndjson", "*/*"],
            &["*/*;q=0.8, application/x-ndjson;q=0.8"],
            &["application/x-ndjson;q=0.5, application/json;q=0.4, */*"],
            &["application/x-ndjson;q=0.5, application/*;q=0.5, */*"],
            &["application/x-ndjson;q=0, application/x-ndjson"],
        ] {
            assert!(prefers(accepted), "{accepted:?}");
        }
        for other in [
            &[][..],
            &[""],
            &["*/*"],
            &["application/*"],
            &["application/json"],
            &["application/x-ndjson;q=0"],
            &["application/x-ndjson;q=0.0", "*/*"],
            &["application/x-ndjson;q=0.5, */*"],
            &["application/json", "application/x-ndjson;q=0.9"],
            &["application/x-ndjson;q=0.5, application/*;q=0.6, */*;q=0.1"],
            &["application/x-ndjson;q=2"],
            &["application/x-ndjson;q=NaN"],
            &["application/x-ndjson;q="],
            &["application/x-ndjson-not"],
        ] {
            assert!(!prefers(other), "{other:?}");
        }
    }
}
