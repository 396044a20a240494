//! Silos whose images lie as pairs of IDX files, and as folders of PNG by class, train a model that tells the classes apart as well.
//!
//! Where `FOLKMOOT_DATA` is set, it must name a folder with `fashion-mnist` in it; where it is not, the first of these reads nothing.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use chacha20::ChaCha20Rng;
use datasets::Dataset;
use flate2::read::GzDecoder;
use plan::Plan;
use rand_core::{Rng, SeedableRng};
use registration::Registration;
use rehearsal::{NoiseLevel, Rehearsal};
use train::Predictor;

const PIXELS: usize = 784;
const SILOS: usize = 3;
/// Images of a silo, and as many that none is trained on.
const ROWS: usize = 400;

const PLAN: &str = r#"
name = "fashion"
rounds = 15
model = { hidden = [], activation = "relu", initial_seed = 1 }
training = { local_epochs = 1, batch_size = 32, optimizer = "sgd", learning_rate = 0.05, micro_batch = 32 }
server = { fedavg = { learning_rate = 1.0, momentum = 0.5 } }
privacy = { mode = "fedavg", coordinate_max = 4.0, fraction_bits = 20, weights = { rows = { rows_max = 512 } }, evaluate = false, loss_max = 10.0 }
cohort = { minimum = 3, maximum = 3, corrupt = 1, honest_min = 2 }
timing = { round_deadline_ms = 60000, minimum_wait_ms = 5000, ready_after_ms = 2000, attempts_max = 3 }
[data]
label = "label"
classes = 10
scaled_to = [0.0, 1.0]
features = [{ columns = "pixel_{0..783}", minimum = 0, maximum = 255 }]
"#;

/// Images and their classes.
struct Images {
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

/// Writes images into a folder in one of the two ways.
type Write = fn(&Path, &[u8], &[u8]);

fn as_pair(folder: &Path, pixels: &[u8], labels: &[u8]) {
    let file = |words: &[u32], values: &[u8]| {
        let words: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        [&words, values].concat()
    };
    let count = labels.len() as u32;
    fs::write(folder.join("a-images-idx3-ubyte"), file(&[0x0803, count, 28, 28], pixels)).unwrap();
    fs::write(folder.join("a-labels-idx1-ubyte"), file(&[0x0801, count], labels)).unwrap();
}

fn as_png(folder: &Path, pixels: &[u8], labels: &[u8]) {
    for (index, (pixels, label)) in pixels.chunks(PIXELS).zip(labels).enumerate() {
        let class = folder.join(label.to_string());
        fs::create_dir_all(&class).unwrap();
        let mut encoder =
            png::Encoder::new(File::create(class.join(format!("{index}.png"))).unwrap(), 28, 28);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
    }
}

/// The share of the images that none was trained on of which the model says the class.
fn accuracy(images: &Images, kind: &str, write: Write) -> f64 {
    let plan = Plan::from_toml(PLAN).unwrap_or_else(|why| panic!("{why}"));
    let registration = Registration::from_toml(&format!(
        "format = 1\n[dialect]\nkind = \"{kind}\"\nimage = {{ width = 28, height = 28 }}\n[columns]\n\
         \"pixel_{{0..783}}\" = {{ type = \"number\" }}\nlabel = {{ type = \"label\", classes = 10 }}\n"
    ))
    .unwrap();
    let parts = images.pixels.chunks(ROWS * PIXELS).zip(images.labels.chunks(ROWS));
    let tables = parts.map(|(pixels, labels)| {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), pixels, labels);
        Dataset::load(folder.path(), Some(&registration), &plan.data).unwrap_or_else(|why| panic!("{why}"))
    });
    let mut silos: Vec<Dataset> = tables.collect();
    let held_out = silos.pop().unwrap();
    assert_eq!((silos.len(), held_out.rows()), (SILOS, ROWS));
    let model =
        Rehearsal::new(&plan, &silos, NoiseLevel::AsPlanned, [1; 32]).and_then(Rehearsal::run).unwrap();
    let said = Predictor::new(&plan, &model).unwrap().predict(held_out.features()).unwrap();
    let right = said.iter().zip(held_out.labels()).filter(|(row, label)| {
        let most = row.probabilities.iter().copied().fold(0.0, f64::max);
        row.probabilities[usize::from(**label)] == most
    });
    right.count() as f64 / ROWS as f64
}

fn trains_alike(images: &Images, least: f64) {
    let [of_pairs, of_folders] =
        [("idx", as_pair as Write), ("images", as_png)].map(|(kind, write)| accuracy(images, kind, write));
    // A folder has its images class by class, so batches are others.
    assert!(
        of_pairs > least && (of_pairs - of_folders).abs() < 0.05,
        "{of_pairs} of IDX files, {of_folders} of PNG"
    );
}

#[test]
#[expect(clippy::print_stderr, reason = "says that nothing was read")]
fn large_data_fashion_mnist_trains_from_idx_files_and_from_folders_of_images() {
    let Some(data) = std::env::var_os("FOLKMOOT_DATA") else {
        eprintln!("FOLKMOOT_DATA is not set: Fashion-MNIST was not read, and this test passes without it");
        return;
    };
    let head = |part: &str, header: usize, each: usize| {
        let file = Path::new(&data).join(format!("fashion-mnist/t10k-{part}-ubyte.gz"));
        let mut bytes = Vec::new();
        let most = header + (SILOS + 1) * ROWS * each;
        GzDecoder::new(File::open(file).unwrap()).take(most as u64).read_to_end(&mut bytes).unwrap();
        bytes.split_off(header)
    };
    let images = Images { pixels: head("images-idx3", 16, PIXELS), labels: head("labels-idx1", 8, 1) };
    trains_alike(&images, 0.7);
}

#[test]
fn made_images_train_from_idx_files_and_from_folders_of_images() {
    let mut rng = ChaCha20Rng::from_seed([8; 32]);
    let labels: Vec<u8> = (0..(SILOS + 1) * ROWS).map(|_| (rng.next_u32() % 10) as u8).collect();
    // Each class has a bright bar of its own, in noise.
    let pixels = labels.iter().flat_map(|label| {
        let bar = 28 * (2 * usize::from(*label) + 2);
        (0..PIXELS).map(|pixel| (bar..bar + 28).contains(&pixel)).collect::<Vec<_>>()
    });
    let mut noise = ChaCha20Rng::from_seed([9; 32]);
    let pixels =
        pixels.map(|is_bright| (noise.next_u32() % 200) as u8 + if is_bright { 55 } else { 0 }).collect();
    trains_alike(&Images { pixels, labels }, 0.9);
}
