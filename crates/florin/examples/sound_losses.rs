//! Sound beside text and pictures: CLAP, AudioCLIP, CAV-MAE and AVTS on the same vectors.

use florin::backend;
use florin::losses::{
    AudioClipLoss, AudioClipScales, AvtsLoss, AvtsPair, CavMaeLoss, ClapLoss, LogitScale, ModalityVectors,
};
use florin::tensor::{Distribution, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?;
    backend::seed(&device, 1);
    let random = || Tensor::<2>::random([3, 8], Distribution::Normal(0.0, 1.0), &device);
    let (sound, picture, text) = (random(), random(), random());
    let scale = || LogitScale::new(LogitScale::CLIP_TEMPERATURE, &device).value();

    let clap = ClapLoss::default().forward(sound.clone(), text.clone(), scale(), scale());
    let [sounds, pictures] = [&sound, &picture].map(|x| ModalityVectors::of_all(x.clone()));
    let texts = ModalityVectors::of_all(text).present_in(vec![true, true, false]);
    let scales = AudioClipScales { audio_image: scale(), audio_text: scale(), image_text: scale() };
    let triples = AudioClipLoss::default().forward(&sounds, &pictures, &texts, scales);
    let reconstruction = || Tensor::from_floats([0.5], &device); // a masked-patch loss, see `masked_patches`
    let masked = CavMaeLoss::default().forward(sound.clone(), picture.clone(), reconstruction(), reconstruction());
    let pairs = [AvtsPair::InSync, AvtsPair::Easy, AvtsPair::Hard];
    let in_time = AvtsLoss::default().forward(sound, picture, &pairs, Some(0.25));
    let parts = [("CLAP", clap.loss), ("AudioCLIP", triples.loss), ("CAV-MAE", masked.loss), ("AVTS", in_time.loss)];
    for (name, loss) in parts {
        println!("{name}: {}", loss.into_scalar::<f32>());
    }
    Ok(())
}
