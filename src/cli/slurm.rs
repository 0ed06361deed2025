//! `svdkit plan --emit slurm`: a script that submits the parts as an array of jobs, and a job that collects after them.

use std::path::Path;

use super::words::{quote, quoted};

/// The script, with `heading` in its comments. The command is that of one part without its number; where no thread count was
/// typed, each part uses the processors that Slurm gives it.
pub(super) fn script(
    command: &[String],
    folder: &Path,
    parts: usize,
    (heading, has_jobs): (&str, bool),
) -> String {
    let (command, folder) = (quoted(command), quote(&folder.to_string_lossy()));
    let jobs = if has_jobs { "" } else { r#" -j "${SLURM_CPUS_PER_TASK:-1}""# };
    let heading = heading.replace('\n', "\n# ");
    TEMPLATE
        .replace("@HEADING@", &heading)
        .replace("@PARTS@", &parts.to_string())
        .replace("@JOBS@", jobs)
        .replace("@FOLDER@", &folder)
        .replace("@COMMAND@", &command)
}

const TEMPLATE: &str = r#"#!/bin/bash
# @HEADING@
#
#   bash THIS_SCRIPT [OPTIONS OF SBATCH]             one part at a time in each element of the array
#   TASKS=4 bash THIS_SCRIPT --cpus-per-task=8       four, each with eight processors
#
# Submits the parts, and a job that collects them. Both may be submitted again: parts go on where they ended.
set -euo pipefail
tasks=${TASKS:-1}
# There may be more parts than elements that Slurm allows: each task then does several.
most=$(scontrol show config | awk '$1 == "MaxArraySize" { print $3 }')
elements=$(((@PARTS@ + tasks - 1) / tasks))
elements=$((elements < most ? elements : most))

array=$(sbatch --parsable --job-name=svdkit --requeue --open-mode=append --signal=B:USR1@120 "$@" \
  --ntasks="$tasks" --array="0-$((elements - 1))" <<'ELEMENT'
#!/bin/bash
part() {
  "${SVDKIT:-svdkit}" @COMMAND@ --ledger @FOLDER@ --resume --partition "$1/@PARTS@"@JOBS@
}
# A task has the rank ID x NTASKS + PROCID, and does the parts rank + 1, rank + 1 + all tasks, and so on.
parts() {
  local ranks=$((SLURM_ARRAY_TASK_COUNT * SLURM_NTASKS)) worst=0 status part
  for ((part = SLURM_ARRAY_TASK_ID * SLURM_NTASKS + SLURM_PROCID + 1; part <= @PARTS@; part += ranks)); do
    part "$part"
    status=$?
    worst=$((status > worst ? status : worst))
    if ((status >= 128)); then break; fi
  done
  return "$worst"
}
export -f part parts
# Nothing that was recorded is lost: the element waits again, and goes on where it ended.
again() {
  trap '' USR1
  kill -TERM "$step" 2>/dev/null
  wait "$step"
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
}
# Slurm sends it before the time limit.
trap again USR1
srun --kill-on-bad-exit=0 ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} bash -c parts &
step=$!
wait "$step"
status=$?
# Killed, as for its memory: three more attempts.
if ((status >= 128 && ${SLURM_RESTART_COUNT:-0} < 3)); then again; fi
exit "$status"
ELEMENT
)
echo "parts: job $array"

# It names what is missing, so it runs however the parts ended.
collect=$(sbatch --parsable --job-name=svdkit-collect --open-mode=append "$@" --ntasks=1 \
  --dependency="afterany:${array%%;*}" <<'COLLECT'
#!/bin/bash
exec "${SVDKIT:-svdkit}" collect @FOLDER@
COLLECT
)
echo "report: job $collect"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_folders_are_quoted() {
        let command = ["spectrum", "my model", "--include", "*.mlp.*"].map(str::to_owned);
        let text = script(&command, Path::new("the parts"), 16, ("16 parts\ntime", false));
        assert!(
            text.contains(r"spectrum 'my model' --include '*.mlp.*' --ledger 'the parts' --resume"),
            "{text}"
        );
        assert!(text.contains("# 16 parts\n# time\n") && !text.contains("@HEADING@"), "{text}");
        for left in ["@PARTS@", "@JOBS@", "@FOLDER@", "@COMMAND@"] {
            assert!(!text.contains(left), "{text}");
        }
        assert!(text.contains(r#"--partition "$1/16" -j "${SLURM_CPUS_PER_TASK:-1}""#));
        assert!(!script(&command, Path::new("p"), 2, ("", true)).contains("-j "));
    }
}
