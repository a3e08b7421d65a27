"""The names of assets, and of the files in their folders. Everything else takes them from here."""

from typing import Final

CONSTITUTION: Final = "constitution"
JUDGE: Final = "judge"
PROMPTS: Final = "prompts"
BASE_POLICY: Final = "base_policy"
SUPERVISED_POLICY: Final = "supervised_policy"
SAMPLED_RESPONSES: Final = "sampled_responses"
CRITIC: Final = "critic"
REVISED_RESPONSES: Final = "revised_responses"
JUDGEMENTS: Final = "judgements"
JUDGE_AUDIT: Final = "judge_audit"
JUDGE_CANARY: Final = "judge_canary"
AI_PREFERENCES: Final = "ai_preferences"
REWARD_MODEL: Final = "reward_model"
ALIGNED_POLICY: Final = "aligned_policy"
EVALUATION_JUDGE: Final = "evaluation_judge"
EVALUATION: Final = "evaluation"
PLATEAU: Final = "plateau"
RELEASED_POLICY: Final = "released_policy"

ASSETS: Final = (
    CONSTITUTION,
    JUDGE,
    PROMPTS,
    BASE_POLICY,
    SUPERVISED_POLICY,
    SAMPLED_RESPONSES,
    CRITIC,
    REVISED_RESPONSES,
    JUDGEMENTS,
    JUDGE_AUDIT,
    JUDGE_CANARY,
    AI_PREFERENCES,
    REWARD_MODEL,
    ALIGNED_POLICY,
    EVALUATION_JUDGE,
    EVALUATION,
    PLATEAU,
    RELEASED_POLICY,
)
"""Every asset that a graph can have, without the round in front; an asset's name is its folder in `data/`."""

CONSTITUTION_JSON: Final = "constitution.json"
JUDGE_JSON: Final = "judge.json"
JUDGE_TEMPLATE: Final = "template.json"
JUDGE_VERDICTS: Final = "verdicts.jsonl"
PROMPTS_TABLE: Final = "prompts.parquet"
RESPONSES_TABLE: Final = "responses.parquet"
REVISIONS_TABLE: Final = "revisions.parquet"
JUDGEMENTS_TABLE: Final = "judgements.parquet"
JUDGE_AUDIT_JSON: Final = "judge_audit.json"
CANARY_JSON: Final = "canary.json"
PREFERENCES_TABLE: Final = "preferences.parquet"
SUMMARY_JSON: Final = "summary.json"
HUMAN_JSON: Final = "human.json"
TRAINING_JSON: Final = "training.json"
CHECKPOINTS_TABLE: Final = "checkpoints.parquet"
METRICS_JSON: Final = "metrics.json"
COMPARISONS_TABLE: Final = "comparisons.parquet"
INPUTS_JSON: Final = "inputs.json"
REPORT_HTML: Final = "report.html"
PLATEAU_JSON: Final = "plateau.json"
STOPPED_JSON: Final = "stopped.json"
RELEASE_JSON: Final = "release.json"
CARD_FILE: Final = "README.md"
