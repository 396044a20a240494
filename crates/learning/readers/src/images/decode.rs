//! PNG and JPEG as the pixels that are registered. Nothing is set aside for an image of another size.

use std::io::Cursor;

use png::{ColorType, Limits, Transformations};
use registration::{Colour, ImageForm};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::fault::{ImageFault, shortened};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = b"\xff\xd8\xff";

/// What follows `ff` where a JPEG ends, and where a pass over its pixels begins.
const END: u8 = 0xd9;
const PASS: u8 = 0xda;

/// What a decoder of PNG may set aside beside the pixels: for texts and colour profiles, which nobody asks for.
const BESIDE_BYTES_MAX: usize = 8 << 20;

/// Most passes over a progressive JPEG: each costs as much as the image.
const SCANS_MAX: usize = 100;

/// Decodes a file's image into `pixels`, plane by plane.
pub(super) fn decode(file: &[u8], form: ImageForm, pixels: &mut Vec<u8>) -> Result<(), ImageFault> {
    let (samples, count) = if file.starts_with(PNG) {
        png(file, form)?
    } else if file.starts_with(JPEG) {
        jpeg(file, form)?
    } else {
        return Err(ImageFault::Format);
    };
    pixels.clear();
    let colours = samples.chunks_exact(count).map(|pixel| match pixel {
        [red, green, blue, ..] => [*red, *green, *blue],
        // Grey, and how opaque it is.
        [grey, ..] => [*grey; 3],
        [] => [0; 3],
    });
    match form.colour {
        Colour::Grey => pixels.extend(colours.map(luma)),
        Colour::Rgb => (0..3).for_each(|plane| {
            pixels.extend(colours.clone().filter_map(|colour| colour.get(plane).copied()));
        }),
    }
    Ok(())
}

/// How light a colour is.
///
/// # Reference
/// ITU-R BT.601, in the integers in which most libraries compute it.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    ((u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471 + 0x8000) >> 16) as u8
}

/// Samples of 8 bits, and how many of them a pixel has. Of 16 bits the upper 8 are taken; how opaque a pixel is is not asked for.
fn png(file: &[u8], form: ImageForm) -> Result<(Vec<u8>, usize), ImageFault> {
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(file), Limits { bytes: BESIDE_BYTES_MAX });
    decoder.set_transformations(Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    let (width, height) = decoder.read_header_info().map_err(damaged)?.size();
    check_size(width, height, form)?;
    let mut reader = decoder.read_info().map_err(damaged)?;
    let bytes = reader.output_buffer_size().ok_or(ImageFault::Size { width, height })?;
    let mut samples = vec![0; bytes];
    let read = reader.next_frame(&mut samples).map_err(damaged)?;
    // What ends before its end is no image, even where all pixels are there.
    reader.finish().map_err(damaged)?;
    let count = match read.color_type {
        ColorType::Grayscale => 1,
        ColorType::GrayscaleAlpha => 2,
        ColorType::Rgb => 3,
        ColorType::Rgba => 4,
        ColorType::Indexed => return Err(ImageFault::Damaged("its palette was not looked up".into())),
    };
    Ok((samples, count))
}

fn jpeg(file: &[u8], form: ImageForm) -> Result<(Vec<u8>, usize), ImageFault> {
    // One that ends between two passes is decoded without a complaint, as coarse as it is.
    let last = |marker: u8| file.windows(2).rposition(|two| *two == [0xff, marker]);
    if last(END) <= last(PASS) {
        return Err(ImageFault::Damaged("it ends too early".into()));
    }
    // Strict: one that ends within a pass is damaged, and not grey below.
    let options = DecoderOptions::new_safe().set_strict_mode(true).jpeg_set_max_scans(SCANS_MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().map_err(damaged)?;
    let info = decoder.info().ok_or_else(|| ImageFault::Damaged("it has no size".into()))?;
    check_size(u32::from(info.width), u32::from(info.height), form)?;
    let (colours, count) = match info.components {
        1 => (ColorSpace::Luma, 1),
        _ => (ColorSpace::RGB, 3),
    };
    decoder.set_options(options.jpeg_set_out_colorspace(colours));
    let samples = decoder.decode().map_err(damaged)?;
    match samples.len() as u64 == u64::from(info.width) * u64::from(info.height) * count as u64 {
        true => Ok((samples, count)),
        false => Err(ImageFault::Damaged("it is of colours that are not read".into())),
    }
}

fn check_size(width: u32, height: u32, form: ImageForm) -> Result<(), ImageFault> {
    match [width, height] == [u32::from(form.width), u32::from(form.height)] {
        true => Ok(()),
        false => Err(ImageFault::Size { width, height }),
    }
}

fn damaged(why: impl std::fmt::Debug + std::fmt::Display) -> ImageFault {
    ImageFault::Damaged(shortened(&why.to_string()))
}
