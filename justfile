# Recipes for those who have just (https://just.systems); each is a line that works without it.

# list the recipes
@default:
    {{ just_executable() }} --list --unsorted

# show messages finding their way over real nodes (--nodes N, --svg FILE, --keep DIR)
demo *arguments:
    scripts/demo {{ arguments }}

# call between two nodes with a WAV file, and measure what was heard (--speech FILE, --line SETTINGS, --svg FILE)
demo-voice *arguments:
    scripts/demo-voice {{ arguments }}

# eight nodes, four talkers, a bad line each: what everybody heard of everybody (--line SETTINGS)
demo-party *arguments:
    scripts/demo-party {{ arguments }}

# run all tests, or those of the program whose names contain a word
test *arguments:
    scripts/test {{ arguments }}

# check the program that knows no sound devices
no-audio:
    scripts/no-audio-check

# check the licenses and sources of all crates, and that none is there twice (--advisories: known vulnerabilities, over the network)
supply-chain *arguments:
    scripts/supply-chain {{ arguments }}

# run what has to hold before a change is taken
ci:
    .ci/run

# build the program: target/release/p2p-chat
build:
    cargo build --release --locked

# run a node, its commands coming from the terminal (just run --port 5000 --username Alice)
run *arguments:
    cargo run --release --locked --quiet -- {{ arguments }}

# measure the node beside its yardsticks, in under 3 minutes (--help for the options)
bench *arguments:
    cargo bench --locked --bench node -- {{ arguments }}

# count the instructions a message and compare them with the record (WORK..., --renew)
instructions *arguments:
    scripts/instructions {{ arguments }}

# measure voice: under loss and jitter (--help for the options), then over real sound
bench-voice *arguments:
    cargo bench --locked --bench voice -- {{ arguments }}; voice=$?; cargo bench --locked --bench sound && exit $voice

# format the source
fmt:
    cargo fmt

# look for mistakes in the source and in the scripts
lint:
    cargo clippy --locked --all-targets -- -D warnings
    shellcheck $(grep -lE '^#!.*bash|^# shellcheck shell=bash' scripts/* .ci/* fuzz/rustc)

# accept the transcripts that have changed: look at the difference that git shows
snapshots:
    INSTA_UPDATE=always cargo test --locked --test it
    git diff --stat -- tests

# put so many random networks, and as many random lives of one node, through the simulator: some minutes
soak runs="2000":
    SIM_RUNS={{ runs }} CHAOS_RUNS={{ runs }} cargo test --release --locked --lib -- sim:: node::tests::

# feed the readers and a whole node with inputs that nobody thought of (TARGET..., --seconds N or --runs N)
fuzz *arguments:
    scripts/fuzz {{ arguments }}

# try so many random cases on each property of codecs, signatures and replay windows: a minute or two
properties cases="100000":
    PROPTEST_CASES={{ cases }} cargo test --release --locked --lib -- wire:: gossip::

# draw the way of a message as SVG, from logs (--message ID, --out FILE)
trace *arguments:
    scripts/trace {{ arguments }}

# run the commands that the README shows
readme:
    scripts/readme-check

# print the JSON Schema of the line protocol
schema:
    cargo run --release --locked --quiet -- schema

# make the source's documentation and open it
docs:
    cargo doc --locked --no-deps --document-private-items --open

# install what is missing here for work on it
setup:
    scripts/setup ci
