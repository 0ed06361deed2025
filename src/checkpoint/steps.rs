//! The checkpoints of a run: which of the files and folders in a folder are steps, and which step each is.
//!
//! Layouts of Trainer (`checkpoint-500`), accelerate (`checkpoint_3`), Lightning (`epoch=3-step=300.ckpt`), torchtitan
//! (`step-1000`), Megatron (`iter_0001000`) and whoever puts a number behind one of these words. It looks at names and at
//! `trainer_state.json`; opens nothing as a model.

use serde::Deserialize;

use crate::error::{Error, quoted};
use crate::format::{listing, names_weights};
use crate::layer::natural;
use crate::store::Location;

/// What training calls the number of a step: those that say more first.
const WORDS: [&[&str]; 4] =
    [&["step", "steps"], &["iter", "iteration"], &["checkpoint", "ckpt", "chkpt"], &["epoch"]];

/// What writes a checkpoint puts it under such a name until it is complete.
const UNFINISHED: [&str; 5] = ["tmp", ".tmp", ".part", ".partial", ".incomplete"];

/// What training saves beside weights.
const BESIDE: [&str; 4] = ["optim", "scheduler", "rng_state", "training_args"];

/// Trainer's own record of where it stands, and the most of it that is read.
const STATE: &str = "trainer_state.json";
const LONGEST_STATE: u64 = 64 << 20;

/// How deep below a folder its checkpoints are looked for: `lightning_logs/version_0/checkpoints`.
const DEEPEST: usize = 3;

/// The step that a name tells: the number behind a word for steps, else its only number.
pub fn step_of_name(name: &str) -> Option<u64> {
    behind_word(name).or_else(|| match &numbers(name)[..] {
        [(_, only)] => only.parse().ok(),
        _ => None,
    })
}

/// The step that a name tells by a word for steps: not by `epoch`, which is many of them.
pub fn step_in_name(name: &str) -> Option<u64> {
    behind(&WORDS[..WORDS.len() - 1], name)
}

/// The number behind a word for steps.
fn behind_word(name: &str) -> Option<u64> {
    behind(&WORDS, name)
}

/// The number behind one of `words`, those that come first before the others.
fn behind(words: &[&[&str]], name: &str) -> Option<u64> {
    let lower = name.to_ascii_lowercase();
    let numbers = numbers(&lower);
    let of = |words: &&[&str]| {
        let is_behind = |(at, _): &&(usize, &str)| {
            let before = lower[..*at].trim_end_matches(['-', '_', '=', ' ', '.']);
            words.iter().any(|word| {
                // Not as the end of a longer word.
                let rest = before.strip_suffix(word);
                rest.is_some_and(|rest| !rest.ends_with(|c: char| c.is_ascii_alphabetic()))
            })
        };
        numbers.iter().find(is_behind)?.1.parse().ok()
    };
    words.iter().find_map(of)
}

/// The runs of digits in a name, each with its place.
fn numbers(name: &str) -> Vec<(usize, &str)> {
    let mut found: Vec<(usize, &str)> = vec![];
    let mut rest = 0;
    while let Some(start) = name[rest..].find(|c: char| c.is_ascii_digit()).map(|at| rest + at) {
        let length = name[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len() - start);
        found.push((start, &name[start..start + length]));
        rest = start + length;
    }
    found
}

/// The step of the checkpoint at `location`: what its training wrote down, else what its name tells, or that of a folder
/// that it is in, as in `global_step_10/actor/huggingface`.
///
/// # Errors
/// When what training wrote down cannot be read.
pub fn step_of(location: &Location) -> Result<Option<u64>, Error> {
    #[derive(Deserialize)]
    struct State {
        global_step: Option<u64>,
    }
    let state = location.join(STATE);
    if location.is_folder() && state.is_file() {
        let text = state.text("the state of a training", LONGEST_STATE)?;
        // One that is cut off is of a checkpoint that is, too: its name may still tell.
        if let Ok(State { global_step: Some(step) }) = serde_json::from_slice(&text) {
            return Ok(Some(step));
        }
    }
    let parts: Vec<String> =
        location.path().iter().rev().map(|part| part.to_string_lossy().into_owned()).collect();
    let own = parts.first().and_then(|name| step_of_name(name));
    Ok(own.or_else(|| parts.iter().skip(1).take(DEEPEST).find_map(|name| behind_word(name))))
}

/// The checkpoints in `folder`, or in a folder below it, by name; none where there is no name of a step.
///
/// # Errors
/// When it cannot be listed, or holds several runs.
pub fn steps_in(folder: &Location) -> Result<Vec<Location>, Error> {
    let mut level = vec![folder.clone()];
    for _ in 0..=DEEPEST {
        let mut runs = vec![];
        let mut below = vec![];
        for folder in &level {
            let (steps, others) = children(folder)?;
            if !steps.is_empty() {
                runs.push((folder.clone(), steps));
            }
            below.extend(others);
        }
        match runs.len() {
            0 => level = below,
            1 => return Ok(runs.remove(0).1),
            _ => {
                let names: Vec<String> =
                    runs.iter().map(|(run, _)| run.describe().to_string_lossy().into_owned()).collect();
                return Err(folder.malformed(format!("holds several runs; name one: {}", quoted(&names))));
            }
        }
    }
    Ok(vec![])
}

/// Whether the name of a folder is that of one step.
pub fn is_step(name: &str) -> bool {
    behind_word(name).is_some()
}

/// The steps in a folder, and its other folders.
fn children(folder: &Location) -> Result<(Vec<Location>, Vec<Location>), Error> {
    let listed = folder.list()?;
    let mut folders: Vec<String> =
        listed.into_iter().filter(|listed| listed.is_folder).map(|listed| listed.name).collect();
    // What a watch writes may be called by a step, too.
    folders.retain(|name| !name.starts_with('.') && !name.ends_with(".ledger") && !is_unfinished(name));
    folders.sort_by(|a, b| natural(a, b));
    let is_number = |name: &String| name.bytes().all(|c| c.is_ascii_digit());
    let (steps, others): (Vec<String>, Vec<String>) =
        folders.into_iter().partition(|name| is_step(name) || is_number(name));
    let is_weights =
        |name: &String| names_weights(name) && is_step(name) && !is_beside(name) && !is_unfinished(name);
    let files = listing(folder)?.into_iter().filter(is_weights);
    let mut names: Vec<String> = steps.into_iter().chain(files).collect();
    names.sort_by(|a, b| natural(a, b));
    let places = |names: Vec<String>| names.into_iter().map(|name| folder.join(name)).collect();
    Ok((places(names), places(others)))
}

/// Whether a file decides numbers, by its name: weights, their index, settings; nothing that training keeps for itself.
pub fn decides_numbers(name: &str) -> bool {
    let is_settings = name.ends_with("config.json") || name.ends_with(".index.json");
    (is_settings || names_weights(name)) && !is_beside(name)
}

/// Whether a file is one that training keeps for itself.
fn is_beside(name: &str) -> bool {
    BESIDE.iter().any(|word| name.contains(word))
}

/// Whether a file or folder has a name that is used until it is complete: `tmp-checkpoint-500`, `x.part`, `.~x`.
pub fn is_unfinished(name: &str) -> bool {
    name.starts_with(".~") || UNFINISHED.iter().any(|word| name.starts_with(word) || name.ends_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::store::Memory;

    #[test]
    fn a_name_tells_its_step() {
        let check = |name: &str, step| assert_eq!(step_of_name(name), step, "{name}");
        check("checkpoint-500", Some(500));
        check("checkpoint_3", Some(3));
        check("epoch=3-step=300.ckpt", Some(300));
        check("step1000", Some(1000));
        check("stage1-step1000-tokens5B", Some(1000));
        check("global_step10", Some(10));
        check("iter_0001000_hf", Some(1000));
        check("llama-3-8b-step-500", Some(500));
        check("42", Some(42));
        check("model-7.safetensors", Some(7));
        check("model-00001-of-00002.safetensors", None);
        check("last.ckpt", None);
        check("footstep12-9", None);
        check("step99999999999999999999", None);
    }

    fn run(files: &[&str]) -> Location {
        let files = files.iter().map(|path| (*path, b"{}".to_vec()));
        Location::new(Arc::new(Memory::new("run", files)), "")
    }

    fn names(files: &[&str]) -> Vec<String> {
        let found = steps_in(&run(files)).expect("listed");
        found.iter().map(|place| place.path().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_run_is_expanded_to_its_steps_in_order() {
        let trainer =
            ["checkpoint-1000/model.safetensors", "checkpoint-500/model.safetensors", "model.safetensors"];
        assert_eq!(names(&trainer), ["checkpoint-500", "checkpoint-1000"]);
        let unfinished = ["tmp-checkpoint-7/a.bin", "checkpoint-6/optimizer.pt", ".step8/a.bin"];
        assert_eq!(names(&unfinished), ["checkpoint-6"]);
        let lightning = [
            "lightning_logs/version_0/checkpoints/epoch=1-step=20.ckpt",
            "lightning_logs/version_0/checkpoints/last.ckpt",
            "lightning_logs/version_0/checkpoints/epoch=0-step=10.ckpt",
        ];
        let at = "lightning_logs/version_0/checkpoints/epoch=";
        assert_eq!(names(&lightning), [format!("{at}0-step=10.ckpt"), format!("{at}1-step=20.ckpt")]);
        assert_eq!(names(&["model-00001-of-00002.safetensors", "logs/a.txt"]), [""; 0]);
        let two = run(&["a/step1/x.bin", "b/step1/x.bin"]);
        assert!(steps_in(&two).expect_err("two runs").to_string().contains("holds several runs"));
    }

    #[test]
    fn what_training_wrote_down_comes_before_the_name() {
        let files = [
            ("best/trainer_state.json", br#"{"log_history": [], "global_step": 70}"#.to_vec()),
            ("checkpoint-9/trainer_state.json", b"{\"global".to_vec()),
            ("global_step_10/actor/huggingface/model.safetensors", vec![0]),
        ];
        let root = Location::new(Arc::new(Memory::new("run", files)), "");
        let step = |path: &str| step_of(&root.join(path)).expect("read");
        assert_eq!(step("best"), Some(70));
        assert_eq!(step("checkpoint-9"), Some(9));
        assert_eq!(step("global_step_10/actor/huggingface"), Some(10));
        assert_eq!(step("final"), None);
    }
}
