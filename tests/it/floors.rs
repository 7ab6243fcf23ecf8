//! Owns the house's order: each room imports only from floors below its own, only one opens connections, no file is too long.

use std::{fs, path::Path};

/// Rooms from the ground up; rooms of one floor do not know each other.
const FLOORS: [&[&str]; 10] = [
    &["wire", "error", "clock", "pause", "simulator", "timer", "turn"],
    &["settings"],
    &["upstream", "limits"],
    &["backend"],
    &["router", "telemetry"],
    &["exchange", "supervision"],
    &["inbound"],
    &["app"],
    &["cli"],
    &["main", "lib"],
];

fn floor(room: &str) -> usize {
    FLOORS.iter().position(|rooms| rooms.contains(&room)).unwrap_or_else(|| panic!("the room {room} has no floor"))
}

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The rooms named after `crate::`, also in nested imports.
fn imported(text: &str) -> Vec<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            rooms.push(first_word(rest));
            continue;
        };
        let mut depth = 1;
        let mut item = String::new();
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 || (depth == 1 && c == ',') {
                rooms.push(first_word(item.trim()));
                item.clear();
            } else {
                item.push(c);
            }
            if depth == 0 {
                break;
            }
        }
    }
    rooms.retain(|room| !room.is_empty());
    rooms
}

#[test]
fn no_file_is_longer_than_300_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in ["src", "tests", "benches"] {
        files(&root.join(folder), &mut sources);
    }
    let lines = |path: &Path| fs::read_to_string(path).expect("readable").lines().count();
    let long: Vec<_> = sources.iter().map(|path| (path.display(), lines(path))).filter(|(_, n)| *n > 300).collect();
    assert!(long.is_empty(), "split by noun: {long:?}");
}

/// What opens sockets of backends, or asks who they are.
const DIALLING: [&str; 4] = ["awc::", "TcpStream::connect", "lookup_host", "to_socket_addrs"];

/// The lines of a source file that are neither comments nor its tests'.
fn code(path: &Path) -> String {
    let text = if path.file_name().is_some_and(|name| name == "tests.rs") {
        String::new()
    } else {
        fs::read_to_string(path).expect("readable")
    };
    let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    own.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn only_upstream_opens_connections_to_backends() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut sources, mut found) = (Vec::new(), Vec::new());
    files(&root, &mut sources);
    for path in sources {
        let relative = path.strip_prefix(&root).expect("below src").to_owned();
        let may = ["upstream", "simulator"].iter().any(|room| relative.starts_with(room));
        let code = code(&path);
        for word in DIALLING.into_iter().filter(|word| code.contains(word)) {
            if may {
                found.push(word);
            } else {
                panic!("{} says {word}", relative.display());
            }
        }
    }
    assert!(found.contains(&"lookup_host") && found.contains(&"awc::"), "it is seen where it may be: {found:?}");
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

#[test]
fn no_room_imports_from_its_own_floor_or_from_above() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    files(&root, &mut sources);
    assert!(sources.len() > 40, "the sources are found");
    let mut arrows = Vec::new();
    for path in sources {
        let relative = path.strip_prefix(&root).expect("below src");
        let room = first_word(&relative.components().next().expect("a name").as_os_str().to_string_lossy());
        for other in imported(&fs::read_to_string(&path).expect("readable")) {
            if other != room && floor(&other) >= floor(&room) {
                arrows.push(format!("{} imports {other}", relative.display()));
            }
        }
    }
    assert!(arrows.is_empty(), "arrows to the same floor or up:\n{}", arrows.join("\n"));
}
