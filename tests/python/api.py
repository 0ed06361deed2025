"""The Python package as its users meet it: functions on files and on models in memory, errors, interrupts.

    python tests/python/api.py

Needs svdkit and numpy; torch, pandas, polars and transformers make it check more.
"""

import contextlib
import io
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import warnings

import numpy

import svdkit

try:
    import torch
except ImportError:
    torch = None

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASE = ROOT / "fixtures/charlm/base"
LORA = ROOT / "fixtures/charlm/lora-r16"


def command(*words, code=0):
    """The JSON that the command writes."""
    done = subprocess.run([svdkit.find_program(), *map(str, words), "--format", "json"], capture_output=True, check=False)
    assert done.returncode == code, done.stderr.decode()
    return done.stdout


def arrays(seed=0, layers=2, side=48):
    draw = numpy.random.default_rng(seed)
    return {f"model.layers.{i}.mlp.{part}_proj.weight": draw.standard_normal((side, 2 * side), dtype="float32")
            for i in range(layers) for part in ("up", "gate")}  # fmt: skip


def stored(tensors, folder):
    """The same tensors as a file, by this package's writer, which is compared with that of safetensors below."""
    from svdkit._tensors import Stage

    with Stage(borrow=False) as stage:
        path = pathlib.Path(stage.model(tensors, "model"), "model.safetensors")
        place = pathlib.Path(folder, "model.safetensors")
        place.write_bytes(path.read_bytes())
    return place


def known(report):
    """A report without what only says where models came from."""
    report = json.loads(report)
    for key in ("model", "base"):
        for part in ("path", "format", "files", "commit"):
            report.get(key, {}).pop(part, None)
    return report


class Files(unittest.TestCase):
    def test_the_json_is_the_commands_to_the_byte(self):
        for name, models, options, words in [
            ("spectrum", [BASE], {}, []),
            ("spectrum", [BASE], {"columns": ["alpha", "stable_rank"], "sort": "-alpha", "jobs": 1},
             ["--columns", "alpha,stable_rank", "--sort=-alpha", "-j1"]),
            ("rank", [BASE], {"energy": [0.8, 0.97], "include": "*.layers.0.*"},
             ["--energy", "0.8,0.97", "--include", "*.layers.0.*"]),
            ("farms", [BASE], {"windows_per_dim": 3}, ["--windows-per-dim", "3"]),
            ("intruders", [BASE, LORA], {"k": 5}, ["-k", "5"]),
            ("compare", [BASE, LORA], {"no_vectors": True}, ["--no-vectors"]),
            ("heads", [BASE], {}, []),
            ("series", [BASE, BASE], {"as_given": True, "no_svd": True}, ["--as-given", "--no-svd"]),
            ("lineage", [BASE, BASE], {}, []),
        ]:  # fmt: skip
            with self.subTest(name, options=options):
                report = getattr(svdkit, name)(*models, **options)
                self.assertEqual(report.json, command(name, *models, *words))

    def test_several_models_may_be_a_list(self):
        one_by_one = svdkit.series(BASE, BASE, as_given=True, no_svd=True)
        self.assertEqual(svdkit.series([BASE, BASE], as_given=True, no_svd=True).json, one_by_one.json)
        self.assertEqual(svdkit.series([BASE], BASE, as_given=True, no_svd=True).json, one_by_one.json)
        family = svdkit.scaling([BASE, BASE], widths="64,128")
        self.assertEqual(family.json, svdkit.scaling(BASE, BASE, widths="64,128").json)

    def test_fine_tunes_may_be_an_option(self):
        expected = svdkit.intruders(BASE, LORA, k=5).rows
        self.assertEqual(svdkit.intruders(BASE, tuned=LORA, k=5).rows, expected)
        self.assertEqual(svdkit.compare(BASE, tuned=LORA).rows, svdkit.compare(BASE, LORA).rows)

    def test_rows_findings_summary_and_verdicts(self):
        report = svdkit.spectrum(str(BASE), fail_if="stable_rank < 1.5")
        self.assertEqual(len(report), len(report.rows))
        self.assertEqual(report.rows[0]["name"], "lm_head")
        self.assertEqual(report.rows[0]["shape"], [256, 128])
        self.assertIn("alpha", report.columns)
        self.assertEqual(report.findings[0]["name"], "dominant-direction")
        self.assertGreater(report.summary["parameters"], 800_000)
        self.assertIs(report.passed, False)
        self.assertIs(svdkit.spectrum(BASE, fail_if="stable_rank < 0.5").passed, True)
        self.assertIsNone(svdkit.spectrum(BASE, columns="stable_rank").passed)
        self.assertIn("lm_head", str(report))
        self.assertIn("spectrum", repr(report))

    def test_advice_is_the_text(self):
        report = svdkit.rank(BASE, emit="peft-rank-pattern", budget=8)
        self.assertIn("rank_pattern", json.loads(report.text))
        self.assertIn("assigned_rank", report.columns)

    def test_reports_are_saved_as_the_command_writes_them(self):
        report = svdkit.spectrum(BASE, columns=["alpha"])
        with tempfile.TemporaryDirectory() as folder:
            for ending in ("json", "jsonl", "csv", "md", "html", "xml"):
                ours, theirs = f"{folder}/ours.{ending}", f"{folder}/theirs.{ending}"
                report.save(ours)
                command("spectrum", BASE, "--columns", "alpha", "-o", theirs, "-q")
                self.assertEqual(pathlib.Path(ours).read_bytes(), pathlib.Path(theirs).read_bytes(), ending)
            self.assertEqual(len(os.listdir(folder)), 12)
            self.assertEqual(len(svdkit.read_report(f"{folder}/ours.json")), len(report))

    def test_a_notebook_shows_a_small_table(self):
        page = svdkit.spectrum(BASE)._repr_html_()
        self.assertIn("<th>lm_head</th>", page)
        self.assertIn("30 rows × ", page)
        self.assertLess(len(page), 10_000)

    def test_frames_have_a_line_a_row(self):
        report = svdkit.spectrum(BASE)
        for name in ("pandas", "polars"):
            try:
                __import__(name)
            except ImportError:
                continue
            frame = getattr(report, f"to_{name}")()
            self.assertEqual(len(frame), len(report))
            self.assertEqual([row["alpha"] for row in report.rows if row["alpha"] is not None],
                             [float(x) for x in frame["alpha"] if x is not None and x == x])  # fmt: skip
            self.assertEqual(list(frame["rows"])[0], 256)
            self.assertIn("float", str(frame["stable_rank"].dtype).lower())


class Memory(unittest.TestCase):
    def check(self, given, tensors=None, **options):
        """A model in memory has the numbers of its file, borrowed and copied."""
        with tempfile.TemporaryDirectory() as folder:
            path = stored(tensors or given, folder)
            expected = command("spectrum", path, *(f"--{key.replace('_', '-')}={value}" for key, value in options.items()))
        report = svdkit.spectrum(given, **options)
        self.assertEqual(known(report.json), known(expected))
        self.assertEqual(report.document["model"]["path"], "model")
        self.assertEqual(report.document["model"]["files"], json.loads(expected)["model"]["files"])
        return report

    def test_arrays(self):
        self.check(arrays())
        self.check({name: array.astype(kind) for kind in ("float16", "float64") for name, array in arrays().items()})
        self.check({name: array.astype(">f4") for name, array in arrays().items()}, arrays())
        turned = {name: array.T for name, array in arrays().items()}
        self.check(turned, {name: array.copy() for name, array in turned.items()})
        halves = {name: array[::2, ::3] for name, array in arrays().items()}
        self.check(halves, {name: array.copy() for name, array in halves.items()})

    def test_masked_arrays_are_refused_where_something_is_masked(self):
        whole = arrays()
        bare = {name: numpy.ma.MaskedArray(array) for name, array in whole.items()}
        self.check(bare, whole)
        name = next(iter(bare))
        bare[name][3, 5] = numpy.ma.masked
        with self.assertRaisesRegex(svdkit.SvdkitError, f"model: {name} is a masked array"):
            svdkit.spectrum(bare)
        self.check({**bare, name: bare[name].filled(0)})

    @unittest.skipUnless(sys.platform == "linux", "elsewhere tensors are copied")
    def test_tensors_are_read_where_they_lie(self):
        from svdkit._tensors import Stage

        given = {**arrays(), "turned": next(iter(arrays().values())).T}
        with Stage(borrow=True) as stage:
            path = pathlib.Path(stage.model(given, "model"), "model.safetensors")
            self.assertEqual(len(stage._borrowed[0]["parts"]), 4)
            self.assertLess(path.stat().st_blocks * 512, path.stat().st_size)

    def test_odd_members(self):
        odd = {**arrays(), "step": numpy.array(3), "empty": numpy.zeros((0, 4)), "mask": numpy.ones((4, 4), bool)}
        report = self.check(odd)
        self.assertEqual({one["tensor"] for one in report.document["skipped"]}, {"step", "empty", "mask"})
        self.assertEqual(len(svdkit.spectrum({**arrays(), "note": "text", "epoch": 4, "none": None})), 4)
        tied = arrays(layers=1)
        tied["head.weight"] = tied["model.layers.0.mlp.up_proj.weight"]
        report = self.check(tied)
        self.assertEqual(report.document["totals"]["tied"], 1)

    def test_two_models_in_memory(self):
        base = arrays()
        tuned = {name: array + numpy.float32(0.01) for name, array in base.items()}
        report = svdkit.compare(base, tuned)
        self.assertEqual((report.document["base"]["path"], report.document["model"]["path"]), ("base", "tuned"))
        self.assertEqual(report.document["totals"]["measured"], 4)
        several = svdkit.compare(base, tuned={"a": tuned, "b": base})
        self.assertEqual([side["name"] for side in several.document["tuned"]], ["a", "b"])
        self.assertEqual(len(svdkit.intruders(base, tuned)), 4)
        self.assertEqual(len(svdkit.series(base, tuned, as_given=True, columns="stable_rank")), 4)
        update = svdkit.rank(tuned, base=base)
        self.assertEqual(update.document["base"]["path"], "base")

    def test_outputs_of_a_model_in_memory_name_no_temporary_folder(self):
        weights = arrays()
        with tempfile.TemporaryDirectory() as folder:
            outputs = [f"{folder}/at-once.{ending}" for ending in ("json", "html", "md")]
            report = svdkit.spectrum(weights, output=outputs, quiet=True)
            report.save(f"{folder}/later.html")
            for name in os.listdir(folder):
                self.assertFalse("/svdkit-" in pathlib.Path(folder, name).read_text(), name)
            self.assertEqual(pathlib.Path(outputs[0]).read_bytes(), report.json)
            self.assertIn("<code>model</code>", pathlib.Path(folder, "later.html").read_text())
            weights["model.layers.0.mlp.up_proj.weight"][0, 0] += 1
            with self.assertRaisesRegex(svdkit.SvdkitError, "weights are others"):
                report.save(f"{folder}/changed.html")
            self.assertFalse(os.path.exists(f"{folder}/changed.html"))

    def test_a_copy_of_a_model_in_memory_has_its_weights(self):
        base = arrays(side=32)
        tuned = {name: array + numpy.float32(0.5) for name, array in base.items()}
        with tempfile.TemporaryDirectory() as folder:
            svdkit.intruders(base, tuned, mitigate=1, out=f"{folder}/copy", quiet=True)
            report = svdkit.compare(tuned, f"{folder}/copy", no_svd=True)
            self.assertEqual(report.document["totals"]["compared"]["unchanged"], 4)

    @unittest.skipUnless(torch, "without torch")
    def test_tensors_of_torch(self):
        given = {name: torch.from_numpy(array) for name, array in arrays().items()}
        self.check(given, arrays())
        brain = {name: tensor.to(torch.bfloat16) for name, tensor in given.items()}
        report = self.check(brain)
        self.assertEqual(report.rows[0]["dtype"], "bf16")
        self.check({name: tensor.T for name, tensor in brain.items()}, {n: t.T.contiguous() for n, t in brain.items()})
        self.check({name: tensor[:, 1:] for name, tensor in given.items()})
        self.check({name: tensor.to(torch.float8_e4m3fn) for name, tensor in given.items()})
        self.check({name: torch.nn.Parameter(tensor) for name, tensor in given.items()}, given)
        whole = torch.randn(96, 64)
        self.check({"a.weight": whole[:40], "b.weight": whole[40:], "c.weight": whole})

    @unittest.skipUnless(torch, "without torch")
    def test_a_module(self):
        module = torch.nn.Sequential(torch.nn.Linear(64, 48), torch.nn.Linear(48, 64))
        report = svdkit.spectrum(module)
        self.assertEqual([row["name"] for row in report.rows], ["0", "1"])
        self.assertEqual(len(report.document["skipped"]), 2)

    @unittest.skipUnless(torch, "without torch")
    def test_a_module_of_transformers_brings_its_configuration(self):
        try:
            from transformers import AutoModelForCausalLM
        except ImportError:
            self.skipTest("without transformers")
        model = AutoModelForCausalLM.from_pretrained(BASE, dtype="auto")
        self.assertEqual(known(svdkit.heads(model).json)["rows"], known(command("heads", BASE))["rows"])

    @unittest.skipUnless(torch, "without torch")
    def test_bytes_are_those_of_safetensors(self):
        try:
            import safetensors.torch
        except ImportError:
            self.skipTest("without safetensors")
        tensors = {f"é.{kind}": torch.randn(3, 5).to(getattr(torch, kind))
                   for kind in ("float64", "float32", "float16", "bfloat16", "float8_e5m2", "int64", "int8", "bool")}  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            path = stored(tensors, folder)
            self.assertEqual(path.read_bytes(), safetensors.torch.save(tensors))


class Errors(unittest.TestCase):
    def refused(self, kind, pattern, call):
        before = set(os.listdir(_temporary()))
        with self.assertRaisesRegex(kind, pattern):
            call()
        self.assertEqual({name for name in set(os.listdir(_temporary())) - before if name.startswith("svdkit-")}, set())

    def test_unknown_options_name_close_ones(self):
        self.refused(TypeError, "no option 'colums'; did you mean columns", lambda: svdkit.spectrum(BASE, colums=["alpha"]))
        self.refused(TypeError, "no option 'epsilon'", lambda: svdkit.spectrum(BASE, epsilon=1))

    def test_a_value_that_an_option_does_not_take_is_named(self):
        self.refused(TypeError, "limit is int, not True", lambda: svdkit.spectrum(BASE, limit=True))
        self.refused(TypeError, "columns is .*, not False", lambda: svdkit.spectrum(BASE, columns=False))
        self.refused(TypeError, "strict is bool, not 'yes'", lambda: svdkit.spectrum(BASE, strict="yes"))
        self.refused(TypeError, "quiet is bool, not 1", lambda: svdkit.spectrum(BASE, quiet=1))
        self.refused(svdkit.SvdkitError, "'0' for '--limit <N>': a whole number from 1 on", lambda: svdkit.spectrum(BASE, limit=0))
        self.assertEqual(len(svdkit.spectrum(BASE, limit=2, allow_missing=True, verbose=False)), 30)

    def test_the_programs_line_is_the_message(self):
        for call, words in [
            (lambda: svdkit.spectrum("no-such-model"), ["spectrum", "no-such-model"]),
            (lambda: svdkit.spectrum(BASE, columns="alhpa"), ["spectrum", BASE, "--columns", "alhpa"]),
            (lambda: svdkit.spectrum(BASE, fail_if="alpha <"), ["spectrum", BASE, "--fail-if", "alpha <"]),
        ]:
            said = subprocess.run([svdkit.find_program(), *map(str, words)], capture_output=True, text=True, check=False)
            line = said.stderr.splitlines()[0].removeprefix("error: ") 
            with self.assertRaises(svdkit.SvdkitError) as caught:
                call()
            self.assertEqual(str(caught.exception).splitlines()[0][: len(line)], line)
        self.refused(svdkit.SvdkitError, "possible values: fast, exact", lambda: svdkit.spectrum(BASE, precision="best"))

    def test_names_of_fine_tunes_are_no_paths(self):
        model = {"w.weight": numpy.eye(8, dtype="float32")}
        for label in ["runs/full", "../out", "stdout", "base"]:
            self.assertEqual(len(svdkit.compare(model, tuned={label: model}, all=True).rows), 1, label)
        self.refused(TypeError, "'a=b' is no name", lambda: svdkit.compare(model, tuned={"a=b": model}))

    def test_a_report_can_be_pickled(self):
        report = svdkit.spectrum({"w.weight": numpy.eye(8, dtype="float32")})
        self.assertEqual(pickle.loads(pickle.dumps(report)).json, report.json)

    def test_what_is_not_a_model_is_named(self):
        self.refused(TypeError, "not int", lambda: svdkit.spectrum(3))
        self.refused(svdkit.SvdkitError, "holds no tensors", lambda: svdkit.spectrum({}))
        self.refused(svdkit.SvdkitError, "model: x has type object", lambda: svdkit.spectrum({"x": numpy.array([None])}))
        nested = {"model": arrays(), "step": 3}
        self.refused(svdkit.SvdkitError, r"checkpoint\['model'\]", lambda: svdkit.spectrum(nested))
        if torch:
            empty = {"w": torch.empty(3, 3, device="meta")}
            self.refused(svdkit.SvdkitError, "model: w is on the meta device", lambda: svdkit.spectrum(empty))
            sparse = {"w": torch.eye(3).to_sparse()}
            self.refused(svdkit.SvdkitError, "model: w is torch.sparse_coo", lambda: svdkit.spectrum(sparse))

    def test_a_matrix_that_cannot_be_read_is_an_error_of_the_report(self):
        with tempfile.TemporaryDirectory() as folder:
            path = stored(arrays(), folder)
            whole = path.read_bytes()
            path.write_bytes(whole[:-100])
            self.refused(svdkit.SvdkitError, "model.safetensors", lambda: svdkit.spectrum(path))

    def test_an_interrupt_ends_the_program_and_leaves_nothing(self):
        before = set(os.listdir(_temporary()))
        big = {f"layers.{i}.weight": numpy.random.default_rng(i).standard_normal((3000, 3000)) for i in range(4)}
        threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        begun = time.monotonic()
        with contextlib.redirect_stderr(io.StringIO()) as said:
            with self.assertRaises(KeyboardInterrupt):
                svdkit.spectrum(big, precision="exact", no_cache=True)
            self.assertLess(time.monotonic() - begun, 4)
            time.sleep(0.3)
        self.assertEqual(said.getvalue(), "")
        left = {name for name in set(os.listdir(_temporary())) - before if name.startswith("svdkit-")}
        self.assertEqual(left, set())
        running = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "comm="], capture_output=True, text=True, check=False)
        self.assertNotIn("svdkit", running.stdout)

    def test_other_threads_run_meanwhile(self):
        big = {"w": numpy.random.default_rng(0).standard_normal((2500, 2500))}
        counted, done = [0], threading.Event()

        def count():
            while not done.wait(0.005):
                counted[0] += 1

        thread = threading.Thread(target=count)
        thread.start()
        begun = time.monotonic()
        svdkit.spectrum(big, no_cache=True)
        spent = time.monotonic() - begun
        done.set()
        thread.join()
        self.assertGreater(counted[0], spent / 0.005 / 4)


def _temporary():
    from svdkit._tensors import _roomy

    return _roomy() or tempfile.gettempdir()


if __name__ == "__main__":
    warnings.simplefilter("error", RuntimeWarning)
    unittest.main()
