//! Several channels to one, so that what any of them has is heard.
//!
//! A mean of all channels has a voice that is in one of two 6 dB too low, one in one of six 15 dB, and none of one that is in two
//! with opposite sign. So the channels are added; one that is the opposite of those before it is turned round; and the sum is
//! brought down to the loudest channel's level: the same sound in all of them comes out as it is in each.

/// How much of a piece of 10 ms counts for what is known of the channels: 40 ms until most of it is forgotten. A guess.
const NEW: f64 = 0.25;
/// The correlation with the channels before it from which on a channel is turned round, and below which it is turned back.
const OPPOSITE: f64 = 0.3;

/// The channels of a file.
#[derive(Debug)]
pub struct Downmix {
    channels: Vec<Channel>,
    /// The power of the sum of all channels.
    power: f64,
    /// Something has been mixed.
    begun: bool,
    sum: Vec<f32>,
}

#[derive(Debug, Default, Clone)]
struct Channel {
    power: f64,
    /// The power of the channels before it together, and what it has in common with them.
    before: f64,
    common: f64,
    turned: bool,
    /// By how much it was multiplied last.
    weight: f32,
}

impl Downmix {
    /// Of so many channels.
    pub fn new(channels: usize) -> Self {
        Self { channels: vec![Channel::default(); channels], power: 0.0, begun: false, sum: Vec::new() }
    }

    /// Appends the sum of a piece, whose samples stand channel by channel for each moment.
    pub fn mix(&mut self, piece: &[f32], out: &mut Vec<f32>) {
        let count = self.channels.len();
        if count < 2 {
            return out.extend_from_slice(piece);
        }
        let moments = piece.len() / count;
        if moments == 0 {
            return;
        }
        let new = if self.begun { NEW } else { 1.0 };
        let Self { channels, power, begun, sum } = self;
        sum.clear();
        sum.resize(moments, 0.0);
        for (at, channel) in channels.iter_mut().enumerate() {
            let samples = || piece.iter().skip(at).step_by(count);
            channel.hear(samples(), sum, new);
            let sign = channel.sign();
            sum.iter_mut().zip(samples()).for_each(|(sum, sample)| *sum += sign * sample);
        }
        blend(power, sum.iter().map(|it| f64::from(it * it)).sum(), new);
        let loudest = channels.iter().map(|it| it.power).fold(0.0, f64::max);
        let gain = if *power > loudest { (loudest / *power).sqrt() as f32 } else { 1.0 };
        sum.fill(0.0);
        for (at, channel) in channels.iter_mut().enumerate() {
            let to = channel.sign() * gain;
            let from = if *begun { channel.weight } else { to };
            channel.weight = to;
            // From the weight before to the new one in even steps: a jump would be heard.
            let step = (to - from) / moments as f32;
            let samples = piece.iter().skip(at).step_by(count);
            for (moment, (sum, sample)) in sum.iter_mut().zip(samples).enumerate() {
                *sum += (from + step * moment as f32) * sample;
            }
        }
        *begun = true;
        out.extend_from_slice(sum);
    }
}

impl Channel {
    fn hear<'a>(&mut self, samples: impl Iterator<Item = &'a f32>, before: &[f32], new: f64) {
        let (mut own, mut others, mut common) = (0.0, 0.0, 0.0);
        for (sample, before) in samples.zip(before) {
            own += f64::from(sample * sample);
            others += f64::from(before * before);
            common += f64::from(sample * before);
        }
        blend(&mut self.power, own, new);
        blend(&mut self.before, others, new);
        blend(&mut self.common, common, new);
        let most = (self.power * self.before).sqrt() * OPPOSITE;
        self.turned = if self.turned { self.common <= most } else { self.common < -most };
    }

    const fn sign(&self) -> f32 {
        if self.turned { -1.0 } else { 1.0 }
    }
}

fn blend(known: &mut f64, heard: f64, new: f64) {
    *known += (heard - *known) * new;
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: usize = 160;

    /// A second of so many channels, each made from the number of its moment.
    fn mixed(channels: usize, sample: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let mut downmix = Downmix::new(channels);
        let mut out = Vec::new();
        for piece in 0..100 {
            let moments = piece * PIECE..(piece + 1) * PIECE;
            let piece: Vec<f32> =
                moments.flat_map(|at| (0..channels).map(move |it| (it, at))).map(|(it, at)| sample(it, at)).collect();
            downmix.mix(&piece, &mut out);
        }
        out
    }

    fn wave(hz: f32, at: usize) -> f32 {
        0.25 * (at as f32 * hz / 16_000.0 * std::f32::consts::TAU).sin()
    }

    /// How strong a tone is in a sound, in dB against [`wave`].
    fn level_db(sound: &[f32], hz: f32) -> f32 {
        let (sine, cosine) = sound.iter().enumerate().fold((0.0_f32, 0.0_f32), |(sine, cosine), (at, sample)| {
            let angle = at as f32 * hz / 16_000.0 * std::f32::consts::TAU;
            (sine + sample * angle.sin(), cosine + sample * angle.cos())
        });
        20.0 * (2.0 * sine.hypot(cosine) / sound.len() as f32 / 0.25).log10()
    }

    #[test]
    fn what_one_channel_has_alone_is_as_loud_as_it_is_there() {
        for channels in [2, 6, 8] {
            for one in 0..channels {
                let heard = mixed(channels, |channel, at| if channel == one { wave(500.0, at) } else { 0.0 });
                let off = heard.iter().enumerate().map(|(at, it)| (it - wave(500.0, at)).abs()).fold(0.0, f32::max);
                assert!(off < 1e-6, "channel {one} of {channels}: {off}");
            }
        }
    }

    #[test]
    fn what_all_have_is_as_loud_as_in_each() {
        for channels in [1, 2, 6] {
            let heard = mixed(channels, |_, at| wave(500.0, at));
            let off = heard.iter().enumerate().map(|(at, it)| (it - wave(500.0, at)).abs()).fold(0.0, f32::max);
            assert!(off < 1e-5, "{channels} channels: {off}");
        }
    }

    #[test]
    fn what_is_opposite_is_heard_as_well() {
        let heard = mixed(2, |channel, at| if channel == 0 { wave(500.0, at) } else { -wave(500.0, at) });
        assert!(level_db(&heard, 500.0).abs() < 0.1, "{} dB", level_db(&heard, 500.0));
        // Though another channel be in between, and louder.
        let heard = mixed(3, |channel, at| match channel {
            0 => wave(500.0, at),
            1 => 2.0 * wave(700.0, at),
            _ => -wave(500.0, at),
        });
        assert!(level_db(&heard, 500.0) > -6.1 && level_db(&heard, 700.0) > -1.0, "{}", level_db(&heard, 500.0));
    }

    #[test]
    fn two_voices_in_two_channels_are_both_heard() {
        let heard = mixed(2, |channel, at| wave(if channel == 0 { 500.0 } else { 700.0 }, at));
        for hz in [500.0, 700.0] {
            assert!((level_db(&heard, hz) + 3.0).abs() < 0.3, "{hz} Hz: {} dB", level_db(&heard, hz));
        }
        // One after the other: each as loud as it is.
        let heard = mixed(2, |channel, at| if (at < 8000) == (channel == 0) { wave(500.0, at) } else { 0.0 });
        let (first, second) = heard.split_at(8000);
        assert!(level_db(first, 500.0).abs() < 0.1 && level_db(&second[1600..], 500.0).abs() < 0.1);
    }

    #[test]
    fn no_sum_jumps_and_silence_is_silence() {
        let heard = mixed(2, |channel, at| {
            let sign = if channel == 1 && (at / 1600) % 2 == 0 { -1.0 } else { 1.0 };
            sign * wave(100.0, at)
        });
        assert!(heard.windows(2).all(|it| (it[1] - it[0]).abs() < 0.6));
        assert!(heard.iter().all(|it| it.abs() <= 0.55));
        assert!(mixed(2, |_, _| 0.0).iter().all(|it| *it == 0.0));
    }
}
