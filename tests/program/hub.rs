//! Models read over the network, from a server of this test that can misbehave: right numbers, or one clear line.

#![cfg(feature = "hub")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::program;

const CHARLM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm");
/// Where the other models lie.
const FORMATS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/formats");
const COMMIT: &str = "7ae557604adf67be50417f59c2c2f167def9a775";

/// How the server behaves when it is asked for a range of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// As a server should.
    Well,
    /// Sends the reader on to another address, where no token may arrive.
    Redirects,
    /// Hangs up in the middle of every third answer.
    HangsUp,
    /// Hangs up in the middle of every answer but sends something of it.
    Trickles,
    /// Never sends anything.
    Silent,
    /// Sends the whole file.
    IgnoresRanges,
    /// Claims a file of a thousand terabytes.
    ClaimsMore,
    /// Claims another length once the header was read.
    Changes,
    /// Sends the bytes beside those asked for.
    SendsOthers,
    /// Answers with a status.
    Status(u16),
    /// Answers the first request for each range with a status.
    AtFirst(u16),
    /// Asks for a token.
    Login,
    /// Begins no file before another is asked for as well.
    WaitsForMore,
}

struct Server {
    endpoint: String,
    sent: Arc<AtomicU64>,
    requests: Arc<AtomicUsize>,
}

/// Which server was asked for which file, and from which byte on.
static ASKED: Mutex<BTreeSet<(u16, String, usize)>> = Mutex::new(BTreeSet::new());

fn port(stream: &TcpStream) -> u16 {
    stream.local_addr().unwrap().port()
}

/// Whether nobody has asked this server for this range before.
fn is_new(stream: &TcpStream, path: &str, first: usize) -> bool {
    ASKED.lock().unwrap().insert((port(stream), path.to_owned(), first))
}

/// Files whose start this server was asked for.
fn starts(stream: &TcpStream) -> usize {
    ASKED.lock().unwrap().iter().filter(|(port, _, first)| *port == self::port(stream) && *first == 0).count()
}

/// The folder of which `tiny/name` is a model.
fn shelf(name: &str) -> &'static Path {
    Path::new(if Path::new(FORMATS).join(name).is_dir() { FORMATS } else { CHARLM })
}

/// All files below `folder`, by their paths in it.
fn files(folder: &Path, prefix: &str) -> Vec<String> {
    let Ok(listing) = fs::read_dir(folder.join(prefix)) else { return vec![] };
    let below = |entry: fs::DirEntry| {
        let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        if entry.path().is_dir() { files(folder, &format!("{name}/")) } else { vec![name] }
    };
    listing.flat_map(|entry| below(entry.unwrap())).collect()
}

/// Serves the folders of `CHARLM` and `FORMATS` as `tiny/FOLDER`.
fn serve(manner: Manner) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sent, requests) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
    let server = Server { endpoint, sent: Arc::clone(&sent), requests: Arc::clone(&requests) };
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (sent, requests) = (Arc::clone(&sent), Arc::clone(&requests));
            thread::spawn(move || answer(&stream.unwrap(), manner, &sent, &requests));
        }
    });
    server
}

/// Answers one request; the connection is closed after it.
fn answer(mut stream: &TcpStream, manner: Manner, sent: &AtomicU64, requests: &AtomicUsize) {
    let lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let lines: Vec<String> = lines.collect();
    let Some(path) = lines.first().and_then(|line| line.split(' ').nth(1)) else { return };
    let header = |name: &str| {
        let lines = lines.iter().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let number = requests.fetch_add(1, Ordering::Relaxed);
    let (token, range) = (header("Authorization"), header("Range"));
    let plain = |code: u16, body: &[u8]| {
        let mut text =
            format!("HTTP/1.1 {code} x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        if code == 429 {
            text = text.replace("Connection", "Retry-After: 0\r\nConnection");
        }
        let mut stream = stream;
        let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.write_all(body));
    };
    if manner == Manner::Login && token.as_deref() != Some("Bearer secret") {
        return plain(401, b"");
    }
    if let Some(name) = path.strip_prefix("/api/models/tiny/").and_then(|rest| rest.split('/').next()) {
        let names = files(&shelf(name).join(name), "");
        if names.is_empty() {
            return plain(404, b"");
        }
        let hostile = ["../outside".to_owned(), "/etc/x".to_owned(), "a/../../b".to_owned()];
        let siblings: Vec<Value> =
            names.into_iter().chain(hostile).map(|name| json!({ "rfilename": name })).collect();
        return plain(200, json!({ "sha": COMMIT, "siblings": siblings }).to_string().as_bytes());
    }
    let moved = path.strip_prefix("/elsewhere");
    assert!(moved.is_none() || token.is_none(), "the token went to another address");
    let file =
        moved.unwrap_or(path).strip_prefix("/tiny/").unwrap().replace(&format!("resolve/{COMMIT}/"), "");
    let model = file.split('/').next().unwrap();
    let bytes = fs::read(shelf(model).join(&file)).unwrap();
    let Some(range) = range else { return plain(200, &bytes) };
    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    let end = bytes.len().min(last + 1);
    let body = &bytes[first..end];
    let (mut from, mut length, mut most) = (first, bytes.len() as u64, body.len());
    match manner {
        Manner::Redirects if moved.is_none() => {
            let text = format!("HTTP/1.1 302 x\r\nLocation: /elsewhere{path}\r\nContent-Length: 0\r\n");
            let _ = stream.write_all((text + "Connection: close\r\n\r\n").as_bytes());
            return;
        }
        Manner::HangsUp if number.is_multiple_of(3) => most /= 2,
        Manner::Trickles => most = most.min(1000),
        Manner::Silent => return,
        Manner::IgnoresRanges => return plain(200, &bytes),
        Manner::ClaimsMore => length = 1 << 50,
        Manner::Changes if first > 0 => length += 1,
        Manner::SendsOthers => from += 1,
        Manner::WaitsForMore if first == 0 => {
            let waiting = Instant::now();
            is_new(stream, path, first);
            while starts(stream) < 2 {
                if waiting.elapsed() > Duration::from_secs(20) {
                    return plain(404, b"");
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
        Manner::Status(code) => return plain(code, b""),
        Manner::AtFirst(code) if is_new(stream, path, first) => return plain(code, b""),
        _ => {}
    }
    let mut head = String::from("HTTP/1.1 206 x\r\nConnection: close\r\n");
    write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
    write!(head, "Content-Range: bytes {from}-{}/{length}\r\n\r\n", from + body.len() - 1).unwrap();
    sent.fetch_add(most as u64, Ordering::Relaxed);
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..most]));
}

fn svdkit(server: &Server, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = program();
    command.args(arguments).env("HF_ENDPOINT", &server.endpoint).env("HF_HOME", "/nowhere");
    command.envs(variables.iter().copied()).output().unwrap()
}

fn rows(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["rows"].take()
}

/// The numbers of the model at `server` are those of the files themselves.
fn check_numbers(server: &Server, variables: &[(&str, &str)]) {
    let options = ["--include", "*.0.*", "--format", "json"];
    let local = Path::new(CHARLM).join("base");
    let local = svdkit(server, &[&["spectrum", local.to_str().unwrap()], &options[..]].concat(), &[]);
    let remote = svdkit(server, &[&["spectrum", "tiny/base"], &options[..]].concat(), variables);
    assert_eq!(rows(&remote), rows(&local));
}

fn check_line(manner: Manner, model: &str, expected: &str) {
    let output = svdkit(&serve(manner), &["spectrum", model, "--include", "lm_head", "-q"], &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(expected), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_streamed_model_has_the_numbers_of_its_files() {
    check_numbers(&serve(Manner::Well), &[]);
    check_numbers(&serve(Manner::Redirects), &[("HF_TOKEN", "secret")]);
    check_numbers(&serve(Manner::Login), &[("HF_TOKEN", "secret")]);
}

/// The report of `model` at `server` is that of the files themselves, but for their names.
fn check_report(server: &Server, command: &str, model: &str) {
    let report = |named: &str, messages: &str| {
        let output = svdkit(server, &[command, named, "--format", "json"], &[]);
        // A matrix that cannot be read is named in the report and on stderr, with its file.
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().replace(messages, "MODEL");
        let mut report: Value = serde_json::from_str(&text(&output.stdout)).unwrap_or_default();
        let keys = ["path", "commit"];
        keys.iter().for_each(|key| drop(report["model"].as_object_mut().unwrap().remove(*key)));
        (report, text(&output.stderr), output.status.code())
    };
    let (name, path) = model.split_once('/').unwrap_or((model, ""));
    let local = shelf(name).join(name).join(path);
    let local = local.to_str().unwrap().trim_end_matches('/');
    let remote = format!("tiny/{model}");
    assert_eq!(report(&remote, &format!("hf://{remote}")), report(local, local), "{model}");
}

#[test]
fn every_format_is_streamed() {
    let server = serve(Manner::Well);
    for model in ["gguf/kinds.gguf", "gguf/split", "gguf/split/tiny-00002-of-00003.gguf", "pipeline"] {
        check_report(&server, "spectrum", model);
    }
    for model in ["torch/model.pt", "torch/sharded", "torch/nested.ckpt", "numpy/arrays.npz"] {
        check_report(&server, "spectrum", model);
    }
    check_report(&server, "spectrum", "numpy/columns.npy");
    check_report(&server, "inspect", "torch/kinds.pth");
    check_report(&serve(Manner::HangsUp), "spectrum", "gguf/kinds.gguf");
    check_report(&serve(Manner::Redirects), "spectrum", "gguf/split");
}

#[test]
fn a_streamed_gguf_file_is_fetched_tensor_by_tensor() {
    let server = serve(Manner::Well);
    let output = svdkit(&server, &["inspect", "tiny/gguf/kinds.gguf"], &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(server.requests.load(Ordering::Relaxed), 2, "list, header");
}

#[test]
fn broken_connections_and_busy_servers_are_asked_again() {
    check_numbers(&serve(Manner::HangsUp), &[]);
    check_numbers(&serve(Manner::AtFirst(429)), &[]);
    check_numbers(&serve(Manner::AtFirst(503)), &[]);
}

#[test]
fn parts_of_a_streamed_model_survive_bad_connections_and_read_their_ranges_alone() {
    let (server, folder) = (serve(Manner::HangsUp), tempfile::tempdir().unwrap());
    let ledger = folder.path().join("parts");
    let (ledger, command) = (ledger.to_str().unwrap(), ["spectrum", "tiny/base", "--format", "json", "-q"]);
    let single = svdkit(&server, &command, &[]);
    let whole = server.sent.load(Ordering::Relaxed);
    for number in ["2/3", "3/3", "1/3"] {
        let before = server.sent.load(Ordering::Relaxed);
        let own = ["--ledger", ledger, "--resume", "--partition", number];
        let output = svdkit(&server, &[&command[..], &own].concat(), &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let sent = server.sent.load(Ordering::Relaxed) - before;
        assert!(sent < whole * 2 / 3, "{sent} of {whole} bytes for {number}");
    }
    let before = server.sent.load(Ordering::Relaxed);
    let collected = svdkit(&server, &["collect", ledger], &[]);
    assert_eq!((collected.stdout, collected.status.code()), (single.stdout, Some(0)));
    let sent = server.sent.load(Ordering::Relaxed) - before;
    assert!(sent < 1 << 18, "{sent} bytes: headers, no weights");
}

#[test]
fn headers_of_several_files_are_asked_for_at_the_same_time() {
    let arguments = ["inspect", "tiny/sharded", "--format", "json"];
    let waited = rows(&svdkit(&serve(Manner::WaitsForMore), &arguments, &[]));
    assert_eq!(waited, rows(&svdkit(&serve(Manner::Well), &arguments, &[])));
}

#[test]
fn only_what_is_measured_is_sent() {
    let server = serve(Manner::Well);
    rows(&svdkit(&server, &["spectrum", "tiny/base", "--include", "lm_head", "--format", "json"], &[]));
    let matrix = 256 * 128 * 2;
    let sent = server.sent.load(Ordering::Relaxed);
    assert!(sent < matrix + (1 << 16) + 10_000, "{sent} bytes for a matrix of {matrix}");
    let before = server.requests.load(Ordering::Relaxed);
    let output = svdkit(&server, &["inspect", "tiny/base"], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("model_type llama") && text.contains(COMMIT), "{text}");
    assert_eq!(server.requests.load(Ordering::Relaxed) - before, 3, "list, settings, header");
}

#[test]
fn adapters_and_their_bases_are_streamed_too() {
    let server = serve(Manner::Well);
    let local = |name: &str| format!("{CHARLM}/{name}");
    let options = ["--format", "json"];
    let remote =
        svdkit(&server, &[&["rank", "tiny/lora-r4", "--base", "hf://tiny/base"], &options[..]].concat(), &[]);
    let (adapter, base) = (local("lora-r4"), local("base"));
    let here =
        svdkit(&server, &[&["rank", adapter.as_str(), "--base", base.as_str()], &options[..]].concat(), &[]);
    assert_eq!(rows(&remote), rows(&here));
    let copy = ["intruders", &base, "tiny/lora-r4", "--mitigate", "0.5", "--out", "/nowhere/copy"];
    let said = svdkit(&server, &copy, &[]).stderr;
    assert!(String::from_utf8_lossy(&said).contains("has to be on this machine"));
}

#[test]
fn servers_that_misbehave_get_one_clear_line() {
    let file = "hf://tiny/base/model.safetensors";
    check_line(Manner::IgnoresRanges, "tiny/base", "sends whole files only");
    check_line(Manner::ClaimsMore, "tiny/base", &format!("{file}: "));
    check_line(Manner::SendsOthers, "tiny/base", "sends other bytes than those asked for");
    check_line(Manner::Changes, "tiny/base", "the file changed while it was read");
    check_line(Manner::Silent, "tiny/base", "gave up after 5 attempts");
    check_line(Manner::Trickles, "tiny/base", "gave up after 5 attempts");
    check_line(Manner::Status(500), "tiny/base", "answers with 500; gave up after 5 attempts");
    check_line(Manner::Status(429), "tiny/base", "answers with 429; gave up after 5 attempts");
    check_line(Manner::Status(404), "tiny/base", &format!("{file}: http://127.0.0.1:"));
    check_line(Manner::Status(403), "tiny/base", "wants a login: set `HF_TOKEN`");
    check_line(Manner::Login, "tiny/base", "wants a login: set `HF_TOKEN`");
    check_line(Manner::Well, "tiny/nothing", "`tiny/nothing`: http://127.0.0.1:");
    check_line(Manner::Well, "tiny/base/other.safetensors", "has no such file or folder");
    check_line(Manner::Well, "tiny/base/config.json", "is JSON text, not weights");
    check_line(Manner::Trickles, "tiny/gguf/kinds.gguf", "gave up after 5 attempts");
    check_line(Manner::Status(404), "tiny/gguf/kinds.gguf", "kinds.gguf: http://127.0.0.1:");
    check_line(Manner::ClaimsMore, "tiny/torch/model.pt", "tiny/torch/model.pt: ");
}

#[test]
fn a_choice_that_a_streamed_model_does_not_offer_is_refused() {
    let check = |arguments: &[&str], expected: &str| {
        let output = svdkit(&serve(Manner::Well), &[&["inspect"], arguments].concat(), &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(expected), "{said}");
    };
    let file = "tiny/base/model.safetensors";
    check(&["tiny/base", "--component", "unet"], "hf://tiny/base: is not a pipeline of components");
    check(&[file, "--variant", "fp16"], "is not a folder, so `--variant` does not apply");
}

#[test]
fn nobody_is_asked_where_the_user_is_offline() {
    let server = serve(Manner::Well);
    let output = svdkit(&server, &["spectrum", "tiny/base"], &[("HF_HUB_OFFLINE", "1")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("fetch it with `hf download tiny/base`"), "{said}");
    assert_eq!(server.requests.load(Ordering::Relaxed), 0);
    let wrong = svdkit(&server, &["spectrum", "tiny/base"], &[("HF_ENDPOINT", "http://127.0.0.1:1")]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("does not answer"));
}
