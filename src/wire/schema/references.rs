//! Owns following the references within a JSON schema: to see that each leads to something, and none back to where it stands.

use std::collections::HashSet;

use serde_json::Value;

/// Deepest that a schema may go with its references followed.
const DEEPEST: usize = 256;

/// Whether all references of a schema lead to something that ends.
pub(super) fn lead_on(schema: &Value) -> bool {
    ends(schema, &mut Way { root: schema, open: Vec::new(), done: HashSet::new() }, 0)
}

/// References on the way through a schema.
struct Way<'a> {
    root: &'a Value,
    open: Vec<&'a str>,
    done: HashSet<&'a str>,
}

/// Whether all references lead to something, and none back to where it stands.
fn ends<'a>(schema: &'a Value, way: &mut Way<'a>, deep: usize) -> bool {
    if deep == DEEPEST {
        return false;
    }
    match schema {
        Value::Array(all) => all.iter().all(|inner| ends(inner, way, deep + 1)),
        Value::Object(members) => members.iter().all(|(key, inner)| match inner {
            Value::String(place) if key == "$ref" => leads(place, way, deep + 1),
            inner => ends(inner, way, deep + 1),
        }),
        _ => true,
    }
}

fn leads<'a>(place: &'a str, way: &mut Way<'a>, deep: usize) -> bool {
    if way.done.contains(place) {
        return true;
    }
    if way.open.contains(&place) {
        return false;
    }
    way.open.push(place);
    let fine = way.root.pointer(&place[1..]).is_some_and(|inner| ends(inner, way, deep));
    way.open.pop();
    way.done.insert(place);
    fine
}
