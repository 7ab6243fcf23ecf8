//! The schema of settings files: as the loader reads them, key by key, with the words and the defaults of `default.toml`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::process::run;

/// One of each table, and in each a key that there is not.
const ONE_OF_EACH: &str = "
a_key_of_nobodys = 1
[server]
a_key_of_nobodys = 1
[failover]
a_key_of_nobodys = 1
[history]
a_key_of_nobodys = 1
[defaults]
a_key_of_nobodys = 1
[traces]
a_key_of_nobodys = 1
[defaults.backend]
a_key_of_nobodys = 1
[defaults.model]
a_key_of_nobodys = 1
[backends.NAME]
a_key_of_nobodys = 1
[models.NAME]
a_key_of_nobodys = 1
[[models.NAME.backends]]
a_key_of_nobodys = 1
[models.NAME.backends.price]
a_key_of_nobodys = 1
[users.NAME]
a_key_of_nobodys = 1
[users.NAME.limits]
a_key_of_nobodys = 1
";

type Tables = BTreeMap<String, BTreeSet<String>>;

/// The tables of a schema below `path`, and their keys.
fn tables(path: &str, schema: &Value, found: &mut Tables) {
    let Some(properties) = schema["properties"].as_object() else { return };
    assert_eq!(schema["additionalProperties"], false, "{path} takes unknown keys");
    found.insert(path.to_owned(), properties.keys().cloned().collect());
    for (key, inner) in properties {
        let key = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        tables(&key, inner, found);
        tables(&format!("{key}.NAME"), &inner["additionalProperties"], found);
        tables(&format!("{key}[0]"), &inner["items"], found);
    }
}

#[tokio::test]
async fn a_schema_has_each_key_that_the_loader_knows_and_no_other() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let said = run(dir.path(), &["schema"], "").await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    let mut offered = Tables::new();
    tables("", &serde_json::from_str(&said.out).expect("a schema is JSON"), &mut offered);
    std::fs::write(dir.path().join("all.toml"), ONE_OF_EACH).expect("a temporary file can be written");
    let told = run(dir.path(), &["validate", "all.toml"], "").await.err;
    let mut known = Tables::new();
    for line in told.lines() {
        let Some((path, keys)) = line.split_once("a_key_of_nobodys: is not a setting; known keys are ") else {
            continue;
        };
        let keys = keys.split(", ").map(ToOwned::to_owned).collect();
        known.insert(path.trim().trim_end_matches('.').to_owned(), keys);
    }
    assert!(known.len() == 14 && known["server"].contains("bind") && known[""].contains("users"), "{known:?}\n{told}");
    // Backends of a model may stand among the defaults, too.
    for part in ["", ".price"] {
        let keys = known[&format!("models.NAME.backends[0]{part}")].clone();
        known.insert(format!("defaults.model.backends[0]{part}"), keys);
    }
    assert_eq!(offered, known);
}
