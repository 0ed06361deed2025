//! What the program prints, word for word: the transcripts in `tests/cli` and the console blocks of README and docs.

#[test]
fn the_program_prints_what_the_transcripts_say() {
    trycmd::TestCases::new()
        .env("CI", "true")
        .case("tests/cli/*.toml")
        .case("README.md")
        .case("docs/*.md")
        .default_bin_name("svdkit");
}
