//! What a student learns from a teacher: its logits, its features, the relations between its samples, its attention, and of two-tower models
//! the contrast of pairs. The teacher never receives a gradient.

mod attention_maps;
mod clip_pairs;
mod distillation_token;
mod features;
mod logits;
mod relations;

pub use attention_maps::{AttentionDistillation, AttentionScores, AttentionTarget};
pub use clip_pairs::{ClipDistillation, ClipDistillationParts, ClipStudent, ClipTeacher};
pub use distillation_token::{TeacherAnswer, TokenDistillation, TokenDistillationParts, TokenLogits, averaged_heads};
pub use features::{FeatureDistillation, FeatureDistillationParts, FeatureError};
pub use logits::{LogitDistillation, LogitDistillationParts};
pub use relations::{RelationDistillation, RelationDistillationParts};
