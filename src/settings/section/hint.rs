//! Owns hints: what a key that nobody knows was meant to be.

use serde_json::Value;

/// How a name with a dot is written, as the end of a sentence, where a table stands in an entry of a named table: without
/// quotes its name ends at the dot.
pub(super) fn dotted(path: &str, key: &str, value: &Value) -> Option<String> {
    let (kind, name) = path.split_once('.').filter(|(_, name)| value.is_object() && !name.contains('.'))?;
    matches!(kind, "backends" | "models" | "users")
        .then(|| format!("; if the name is {name}.{key}, write [{kind}.\"{name}.{key}\"]"))
}

/// The known name that is nearly the one written, as the end of a sentence.
pub(in super::super) fn did_you_mean<'n>(written: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    nearest(written, known).map(|near| format!("; did you mean `{near}`?"))
}

/// The known name that is nearly the one written.
pub fn nearest<'n>(written: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let (near, far) = known.map(|name| (name, distance(name, written))).min_by_key(|(_, far)| *far)?;
    // Short names are all alike.
    (far <= 3 && 2 * far <= written.len()).then_some(near)
}

/// Levenshtein distance, for "did you mean".
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (corner + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}
