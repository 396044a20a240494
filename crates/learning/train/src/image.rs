//! What each number of a convolution's kernel meets on an image.

use crate::TrainError;
use crate::gradients::part;

/// An image and the places that a kernel takes on it.
pub(crate) struct Image {
    height: usize,
    width: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    /// Rows and columns of the places.
    output: [usize; 2],
}

impl Image {
    /// # Errors
    /// A kernel that has no place on the image.
    pub(crate) fn new(
        [height, width]: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<Self, TrainError> {
        let places = |side: usize| Some((side + 2 * padding).checked_sub(kernel)?.checked_div(stride)? + 1);
        match (places(height), places(width)) {
            (Some(down), Some(across)) => {
                Ok(Self { height, width, kernel, stride, padding, output: [down, across] })
            }
            _ => Err(TrainError::Tensor(format!(
                "a kernel of {kernel} has no place on an image of {height} by {width}"
            ))),
        }
    }

    pub(crate) fn places(&self) -> usize {
        let [height, width] = self.output;
        height * width
    }

    /// What each number of the kernel meets at each place.
    ///
    /// # Shapes
    /// `images`: `[rows, planes, height, width]`; the result: `[rows, planes, kernel, kernel, places]`.
    pub(crate) fn patches(&self, images: &[f32]) -> Vec<f32> {
        let [out_height, out_width] = self.output;
        let plane = self.height * self.width;
        let planes = images.chunks_exact(plane.max(1));
        let mut patches = Vec::with_capacity(planes.len() * self.kernel * self.kernel * self.places());
        for plane in planes {
            for (dy, dx) in (0..self.kernel).flat_map(|dy| (0..self.kernel).map(move |dx| (dy, dx))) {
                for y in 0..out_height {
                    let row =
                        (y * self.stride + dy).checked_sub(self.padding).filter(|row| *row < self.height);
                    // Beyond the image there is nothing, which is padded with zeros.
                    let row = row.map_or(&[][..], |row| part(plane, row, self.width));
                    self.append_row(&mut patches, row, dx, out_width);
                }
            }
        }
        patches
    }

    /// One row of places: the numbers `stride` apart from `dx` on, zeros beyond the image.
    fn append_row(&self, patches: &mut Vec<f32>, row: &[f32], dx: usize, out_width: usize) {
        let end = patches.len() + out_width;
        // Places whose column lies before the image.
        let before = self.padding.saturating_sub(dx).div_ceil(self.stride.max(1)).min(out_width);
        patches.resize(patches.len() + before, 0.0);
        let first = before * self.stride + dx - self.padding.min(before * self.stride + dx);
        let (_, inside) = row.split_at(first.min(row.len()));
        if self.stride == 1 {
            patches.extend_from_slice(inside.split_at((out_width - before).min(inside.len())).0);
        } else {
            patches.extend(inside.iter().step_by(self.stride.max(1)).take(out_width - before));
        }
        patches.resize(end, 0.0);
    }
}
