//! Asking a server for bytes: parts of files, again where a connection broke, with one line to say why it failed.

use std::io::Read;
use std::ops::Range;
use std::time::Duration;

use ureq::http::Response;
use ureq::{Agent, Body};

use super::Hub;
use crate::error::{Error, brief};

/// How often a request is made before it is given up.
const ATTEMPTS: u32 = 5;
/// The wait before the second attempt; it doubles from one to the next.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest wait that a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// A server that sends nothing for so long has hung up.
const SILENCE: Duration = Duration::from_mins(1);

/// A connection to the hub.
pub(super) struct Client {
    agent: Agent,
    hub: Hub,
}

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Problem {
    /// The user stopped the run.
    Interrupted,
    /// In words.
    Refused(String),
    /// In words, and how long to wait before it is worth to ask again.
    Passing(String, Option<Duration>),
}

impl Problem {
    /// As an error, made by `wrong` of the words.
    pub(super) fn error(self, wrong: impl FnOnce(String) -> Error) -> Error {
        match self {
            Self::Interrupted => Error::Interrupted,
            Self::Refused(why) | Self::Passing(why, _) => wrong(why),
        }
    }
}

impl Client {
    pub(super) fn new(hub: &Hub) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("svdkit/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE));
        Self { agent: config.build().new_agent(), hub: hub.clone() }
    }

    /// Where the hub is, without a slash at the end.
    pub(super) fn endpoint(&self) -> &str {
        self.hub.endpoint.trim_end_matches('/')
    }

    /// A whole file; none if it has more than `most` bytes.
    pub(super) fn text(&self, url: &str, most: u64) -> Result<Option<Vec<u8>>, Problem> {
        let mut attempt = 0;
        loop {
            let answer = self.ask(url, None).and_then(|answer| {
                let mut bytes = vec![];
                let read = answer.into_body().into_reader().take(most + 1).read_to_end(&mut bytes);
                read.map_err(|e| broken(&e))?;
                Ok(bytes)
            });
            match answer {
                Ok(bytes) => return Ok((bytes.len() as u64 <= most).then_some(bytes)),
                Err(problem) => self.pause(problem, &mut attempt)?,
            }
        }
    }

    /// Fills `out` from position `offset` of a file, or as much of it as the file has; says how much that is, and how
    /// long the file is.
    pub(super) fn fill(&self, url: &str, offset: u64, out: &mut [u8]) -> Result<(usize, u64), Problem> {
        let (mut filled, mut known, mut attempt) = (0, None, 0);
        loop {
            // Bytes received before a connection broke are kept.
            let end = known.map_or(out.len() as u64, |length: u64| length.saturating_sub(offset));
            let rest = out.get_mut(filled..out.len().min(end as usize)).unwrap_or_default();
            match (known, rest) {
                (Some(length), []) => return Ok((filled, length)),
                (_, rest) => match self.part(url, offset + filled as u64, rest, &mut known, &mut filled) {
                    Ok(()) => {}
                    Err(problem) => self.pause(problem, &mut attempt)?,
                },
            }
        }
    }

    /// Fills `out` from `offset` with one response, counts the bytes, and records the file's length, which must be
    /// as it was before.
    fn part(
        &self,
        url: &str,
        offset: u64,
        out: &mut [u8],
        known: &mut Option<u64>,
        filled: &mut usize,
    ) -> Result<(), Problem> {
        let asked = offset..offset + out.len() as u64;
        let answer = self.ask(url, Some(&asked))?;
        let length = content_range(&answer, &asked).map_err(Problem::Refused)?;
        if known.replace(length).is_some_and(|before| before != length) {
            return Err(Problem::Refused("the file changed while it was read".to_owned()));
        }
        let wanted = (asked.end.min(length) - offset) as usize;
        let (mut reader, before) = (answer.into_body().into_reader(), *filled);
        while *filled - before < wanted {
            match reader.read(&mut out[*filled - before..wanted]) {
                Ok(0) => {
                    let came = *filled - before;
                    return Err(Problem::Passing(format!("only {came} of {wanted} bytes came"), None));
                }
                Ok(n) => *filled += n,
                Err(e) => return Err(broken(&e)),
            }
        }
        Ok(())
    }

    /// Asks once, for a file or a range of it.
    fn ask(&self, url: &str, range: Option<&Range<u64>>) -> Result<Response<Body>, Problem> {
        if (self.hub.is_interrupted)() {
            return Err(Problem::Interrupted);
        }
        let mut request = self.agent.get(url);
        if let Some(range) = range {
            request = request.header("Range", format!("bytes={}-{}", range.start, range.end.max(1) - 1));
        }
        if let Some(token) = &self.hub.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let answer = request.call().map_err(|e| match e {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => Problem::Refused(brief(&e.to_string())),
            ureq::Error::HostNotFound => Problem::Refused(format!("no host of {}", self.endpoint())),
            e => Problem::Passing(
                format!("{} does not answer: {}", self.endpoint(), brief(&e.to_string())),
                None,
            ),
        })?;
        self.checked(answer, range.is_some())
    }

    /// `answer`, if it holds the requested bytes.
    fn checked(&self, answer: Response<Body>, ranged: bool) -> Result<Response<Body>, Problem> {
        let endpoint = self.endpoint();
        let refused = |why: String| Err(Problem::Refused(why));
        match answer.status().as_u16() {
            206 if ranged => Ok(answer),
            200 if !ranged => Ok(answer),
            200 => refused(format!(
                "{endpoint} sends whole files only, so nothing can be read of them one by one; fetch it with `hf download`"
            )),
            401 | 403 => refused(match &self.hub.token {
                None => format!("{endpoint} does not have it, or wants a login: set `HF_TOKEN`"),
                Some(_) => format!("{endpoint} does not have it, or `HF_TOKEN` may not read it"),
            }),
            404 => refused(format!("{endpoint} does not have it")),
            416 => refused("the file is empty".to_owned()),
            code @ (408 | 425 | 429 | 500..=599) => {
                let wait =
                    answer.headers().get("Retry-After").and_then(|value| value.to_str().ok()?.parse().ok());
                Err(Problem::Passing(
                    format!("{endpoint} answers with {code}"),
                    wait.map(Duration::from_secs),
                ))
            }
            code => refused(format!("{endpoint} answers with {code}")),
        }
    }

    /// Waits before the next attempt, if `problem` may pass and there is one left.
    fn pause(&self, problem: Problem, attempt: &mut u32) -> Result<(), Problem> {
        *attempt += 1;
        let Problem::Passing(why, asked) = problem else { return Err(problem) };
        if *attempt == ATTEMPTS {
            return Err(Problem::Refused(format!("{why}; gave up after {ATTEMPTS} attempts")));
        }
        let wait = asked.unwrap_or(PAUSE * 2u32.pow(*attempt - 1)).min(LONGEST_PAUSE);
        let steps = wait.as_millis().div_ceil(50);
        for _ in 0..steps {
            if (self.hub.is_interrupted)() {
                return Err(Problem::Interrupted);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

fn broken(error: &std::io::Error) -> Problem {
    Problem::Passing(format!("the connection broke: {}", brief(&error.to_string())), None)
}

/// The file's length, if the response holds the requested bytes.
fn content_range(answer: &Response<Body>, asked: &Range<u64>) -> Result<u64, String> {
    let text = answer.headers().get("Content-Range").and_then(|value| value.to_str().ok()).unwrap_or("");
    let parsed = || {
        let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let number = |text: &str| text.trim().parse::<u64>().ok();
        Some((number(first)?, number(last)?, number(length)?))
    };
    let (first, last, length) =
        parsed().ok_or_else(|| format!("the server does not say what it sends (`{}`)", brief(text)))?;
    let expected = asked.end.min(length);
    if first != asked.start || last.checked_add(1) != Some(expected) || expected <= asked.start {
        return Err(format!(
            "the server sends other bytes than those asked for: {}-{} of `{}`",
            asked.start,
            asked.end - 1,
            brief(text)
        ));
    }
    Ok(length)
}

/// A part of a path, encoded for an address.
pub(super) fn encoded(part: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    part.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
