//! The promised `data` of `transcript.created`.
//!
//! It is for producers in Rust: nothing in the delivery of an event reads it. Members that are not named here are kept,
//! so that a transcript that is read and written again loses nothing.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{
    new_event::{NewEvent, NotWritable},
    time::timestamp,
};

/// A call's transcript, completed and ready to view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transcript {
    /// The call's id; the identifier by which delivery logs name this event.
    pub message_id: String,
    /// The result of the transcription, such as `completed`.
    pub status: String,
    /// The call's utterances, in the order in which they were said.
    pub utterances: Vec<Utterance>,
    /// The utterances as one text, a line each: `A: …\nB: …`.
    pub conversation: String,
    /// The call's length in seconds; finite.
    #[serde(serialize_with = "finite")]
    pub duration: f64,
    /// The confidence of the recognition, from 0 to 1.
    #[serde(serialize_with = "finite")]
    pub confidence: f64,
    /// The spoken language, such as `en`.
    pub language_code: String,
    /// The label of the speaker who is the recruiter.
    pub recruiter: String,
    /// The fault; written as `null` if there was none.
    pub error: Option<String>,
    /// The time of the call; written in UTC with milliseconds.
    #[serde(serialize_with = "milliseconds")]
    pub created_at: DateTime<Utc>,
    /// The time at which the transcription started; written in UTC with milliseconds.
    #[serde(serialize_with = "milliseconds")]
    pub triggered_at: DateTime<Utc>,
    /// Members that are not named above.
    #[serde(flatten)]
    pub further: Map<String, Value>,
}

/// One speaker's words at a stretch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Utterance {
    /// The speaker's label, such as `A`.
    pub speaker: String,
    /// The words.
    pub text: String,
    /// Members that are not named above.
    #[serde(flatten)]
    pub further: Map<String, Value>,
}

impl Transcript {
    /// The event type.
    pub const EVENT: &str = "transcript.created";

    /// The event that this transcript was completed at `timestamp`, ready to enqueue.
    ///
    /// # Errors
    /// [`NotWritable`] if `duration` or `confidence` is not finite: JSON has no such number.
    pub fn created(&self, timestamp: DateTime<Utc>) -> Result<NewEvent, NotWritable> {
        NewEvent::new(Self::EVENT, timestamp, self)
    }
}

/// Refuses a number that is not finite: JSON would have `null` instead, which receivers do not expect.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn finite<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if number.is_finite() {
        serializer.serialize_f64(*number)
    } else {
        Err(serde::ser::Error::custom("a number is not finite"))
    }
}

fn milliseconds<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&timestamp(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that customers are shown, on one line.
    const EXAMPLE: &str = concat!(
        r#"{"event":"transcript.created","timestamp":"2026-03-26T14:32:00.000Z","data":{"#,
        r#""messageId":"6601abc123def4567890abcd","status":"completed","#,
        r#""utterances":[{"speaker":"A","text":"Hi, thanks for calling."},"#,
        r#"{"speaker":"B","text":"Hello, I'm calling about the role."}],"#,
        r#""conversation":"A: Hi, thanks for calling.\nB: Hello, I'm calling about the role.","#,
        r#""duration":245.5,"confidence":0.94,"languageCode":"en","recruiter":"A","error":null,"#,
        r#""createdAt":"2026-03-26T14:00:00.000Z","triggeredAt":"2026-03-26T14:01:12.000Z"}}"#
    );

    fn data() -> Value {
        serde_json::from_str::<Value>(EXAMPLE).unwrap()["data"].take()
    }

    fn at() -> DateTime<Utc> {
        "2026-03-26T14:32:00Z".parse().unwrap()
    }

    #[test]
    fn the_promised_example_is_written_byte_for_byte() {
        let transcript: Transcript = serde_json::from_value(data()).unwrap();
        assert_eq!(transcript.utterances[1].speaker, "B");
        assert_eq!(transcript.created(at()).unwrap().envelope, EXAMPLE);
    }

    #[test]
    fn members_that_are_not_named_are_kept() {
        let mut given = data();
        given["interviewRound"] = 2.into();
        given["utterances"][0]["startMs"] = 120.into();
        let transcript: Transcript = serde_json::from_value(given.clone()).unwrap();
        assert_eq!(serde_json::to_value(&transcript).unwrap(), given);
    }

    #[test]
    fn an_error_is_written_and_its_absence_is_null() {
        let mut given = data();
        given.as_object_mut().unwrap().remove("error");
        let mut transcript: Transcript = serde_json::from_value(given).unwrap();
        assert_eq!(serde_json::to_value(&transcript).unwrap()["error"], Value::Null);
        transcript.error = Some("no speech".to_owned());
        assert_eq!(serde_json::to_value(&transcript).unwrap()["error"], "no speech");
    }

    #[test]
    fn a_number_that_is_not_finite_is_refused_instead_of_becoming_null() {
        for number in [f64::NAN, f64::INFINITY] {
            let transcript = Transcript { duration: number, ..serde_json::from_value(data()).unwrap() };
            assert!(transcript.created(at()).is_err());
        }
    }
}
