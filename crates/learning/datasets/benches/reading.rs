//! Rows a second of reading a table into what the model gets, beside `pandas.read_csv` of the same file, and what both take in memory.
//!
//! ```sh
//! cargo bench -p datasets --bench reading                          # census income where FOLKMOOT_DATA has it, and a made table of 64 MB
//! cargo bench -p datasets --bench reading -- --megabytes 1024      # a made table of that size
//! ```
//!
//! PYTHON names an interpreter that has pandas; without one our own figures stand alone. Each reading is a process of its own, whose
//! peak of resident memory is counted from before it began. The two do not do the same: pandas finds out types and keeps texts; a silo's
//! reading holds each cell against the plan, turns it into numbers, and names the content by its digest.

use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use datasets::Dataset;
use plan::Data;

/// Of each reader, in turns, so that whatever else the machine does meets both; the fastest counts.
const REPETITIONS: usize = 3;
const MEGABYTES: u64 = 64;
const MIB: f64 = 1048576.0;

const PANDAS: &str = r#"
import sys, time
import pandas

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

before, begun = peak(), time.perf_counter()
table = pandas.read_csv(sys.argv[1])
seconds = time.perf_counter() - begun
print(len(table), seconds, peak() - before)
"#;

/// What a process says of its reading.
#[derive(Clone, Copy)]
struct Reading {
    rows: usize,
    seconds: f64,
    peak_kib: u64,
}

#[expect(clippy::print_stdout, reason = "a benchmark reports")]
fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let megabytes = match words[..] {
        ["--read", table, plan] => {
            let Reading { rows, seconds, peak_kib } = read(Path::new(table), &fs::read_to_string(plan)?)?;
            println!("{rows} {seconds} {peak_kib}");
            return Ok(());
        }
        ["--megabytes", megabytes] => megabytes.parse()?,
        [] => MEGABYTES,
        _ => return Err("there is --megabytes N, and nothing else".into()),
    };
    if cfg!(debug_assertions) {
        println!("Debug assertions are on: `cargo bench` measures what is shipped.\n");
    }
    let scratch = tempfile::tempdir()?;
    let table = scratch.path().join("table.csv");
    println!("| table | MB | rows | rows/s | pandas | ratio | peak MiB | the table's own MiB | pandas |");
    println!("{}|", "| --- ".repeat(9));
    if let Some(folder) = std::env::var_os("FOLKMOOT_DATA") {
        let rows = fs::read_to_string(Path::new(&folder).join("adult/adult.data"))?;
        fs::write(&table, format!("{CENSUS}\n{}", rows.replace('?', "").replace(", ", ",")))?;
        println!("{}", line("census income", &table, census()?)?);
    }
    make(&table, megabytes * 1_000_000)?;
    println!("{}", line("made", &table, MADE)?);
    Ok(())
}

const CENSUS: &str = "age,workclass,fnlwgt,education,education-num,marital-status,occupation,relationship,race,sex,capital-gain,\
                      capital-loss,hours-per-week,native-country,income";

/// The guide's table for it.
fn census() -> Result<&'static str, Box<dyn Error>> {
    let tables = include_str!("../../../../deploy/DATA.md").split("```toml\n").skip(1);
    let mut tables = tables.filter_map(|rest| rest.split("```").next());
    Ok(tables
        .find(|table| table.contains("label = \"income\""))
        .ok_or("the guide shows no table of incomes")?)
}

const MADE: &str = r#"
label = "ill"
classes = { flag = "yes" }
scaled_to = [0.0, 1.0]
features = [
    { columns = "lab_{1..16}", minimum = 0, maximum = 1000 },
    { column = "ward", one_hot = ["surgery", "medicine", "cardiology", "neurology"], other = true },
    { column = "smoker", flag = "yes", missing = "flag" },
    { column = "admitted", first_day = "2000-01-01", last_day = "2030-01-01" },
    { column = "stay", log_range = [0, 400], missing = 5 },
]
"#;

/// Writes a table of about so many bytes, the same each time.
fn make(table: &Path, bytes: u64) -> Result<(), Box<dyn Error>> {
    const WARDS: [&str; 6] = ["surgery", "medicine", "cardiology", "neurology", "oncology", "geriatrics"];
    let mut state = 1u64;
    // Knuth's multiplier; the upper half is what is drawn.
    let mut below = move |count: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % count
    };
    let mut file = BufWriter::new(File::create(table)?);
    let labs: String = (1..=16).map(|lab| format!("lab_{lab},")).collect();
    writeln!(file, "id,{labs}ward,smoker,admitted,stay,ill")?;
    let (mut row, mut written, mut id) = (String::new(), 0, 0u64);
    while written < bytes {
        row.clear();
        write!(row, "{id},")?;
        for _ in 0..16 {
            write!(row, "{}.{},", below(1000), below(100))?;
        }
        let ward = WARDS[below(6) as usize];
        let (smoker, ill) = (["no", "yes", ""][below(3) as usize], ["no", "yes"][below(2) as usize]);
        let (year, month, day, stay) = (below(30), 1 + below(12), 1 + below(28), below(90));
        writeln!(row, "{ward},{smoker},20{year:02}-{month:02}-{day:02},{stay},{ill}")?;
        file.write_all(row.as_bytes())?;
        written += row.len() as u64;
        id += 1;
    }
    Ok(file.flush()?)
}

/// Both readers' figures of a file, as a line of the report.
fn line(name: &str, table: &Path, plan: &str) -> Result<String, Box<dyn Error>> {
    let data: Data = toml::from_str(plan)?;
    let written = table.with_extension("toml");
    fs::write(&written, plan)?;
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let asked = Command::new(&python).args(["-c", "import pandas"]).output();
    let has_pandas = asked.is_ok_and(|ended| ended.status.success());
    let (mut ours, mut theirs): (Option<Reading>, Option<Reading>) = (None, None);
    for _ in 0..REPETITIONS {
        let this = std::env::current_exe()?;
        ours = faster(ours, measured(Command::new(this).arg("--read").arg(table).arg(&written))?);
        if has_pandas {
            theirs = faster(theirs, measured(Command::new(&python).args(["-c", PANDAS]).arg(table))?);
        }
    }
    let ours = ours.ok_or("nothing was read")?;
    let speed = |reading: Reading| reading.rows as f64 / reading.seconds;
    let peak = |reading: Reading| reading.peak_kib as f64 * 1024.0 / MIB;
    let (their_speed, ratio, their_peak) = match theirs {
        None => ("no pandas".into(), String::new(), String::new()),
        Some(theirs) if theirs.rows != ours.rows => {
            return Err(format!("pandas read {} rows, and we {}", theirs.rows, ours.rows).into());
        }
        Some(theirs) => (
            format!("{:.0}", speed(theirs)),
            format!("{:.2}", speed(ours) / speed(theirs)),
            format!("{:.1}", peak(theirs)),
        ),
    };
    let megabytes = fs::metadata(table)?.len() as f64 / 1e6;
    let own = (ours.rows * data.width() * size_of::<f32>()) as f64 / MIB;
    Ok(format!(
        "| {name} | {megabytes:.0} | {} | {:.0} | {their_speed} | {ratio} | {:.1} | {own:.1} | {their_peak} |",
        ours.rows,
        speed(ours),
        peak(ours)
    ))
}

fn faster(best: Option<Reading>, next: Reading) -> Option<Reading> {
    Some(best.filter(|best| best.seconds <= next.seconds).unwrap_or(next))
}

/// What a child prints of its reading.
fn measured(command: &mut Command) -> Result<Reading, Box<dyn Error>> {
    let ended = command.output()?;
    let text = String::from_utf8(ended.stdout)?;
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        [rows, seconds, peak_kib] if ended.status.success() => {
            Ok(Reading { rows: rows.parse()?, seconds: seconds.parse()?, peak_kib: peak_kib.parse()? })
        }
        _ => Err(String::from_utf8_lossy(&ended.stderr).into()),
    }
}

/// Reads a table in this process.
fn read(table: &Path, plan: &str) -> Result<Reading, Box<dyn Error>> {
    let data: Data = toml::from_str(plan)?;
    let (before, begun) = (peak_kib()?, Instant::now());
    let table = Dataset::load(table, None, &data)?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Reading { rows: table.rows(), seconds, peak_kib: peak_kib()? - before })
}

/// The most memory that this process has had resident.
fn peak_kib() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(peak.ok_or("no VmHWM: this needs Linux")?.trim().trim_end_matches(" kB").parse()?)
}
