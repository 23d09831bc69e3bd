//! `lynkhook enqueue`: puts events into an account's queue.
//!
//! A line that is not a valid envelope is reported on standard error, and the remaining lines are still enqueued. If
//! Redis fails on the way, the command does not send any event a second time by itself. It says how many events were
//! accepted, and from which line to continue.

mod input;
mod report;

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Stdout, Write},
    os::fd::AsFd,
    path::PathBuf,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use self::{
    input::{Batch, Content, Piece},
    report::{Ids, Tally},
};
use super::{Exit, output::say};
use crate::{
    config::Settings,
    domain::{
        account::AccountId,
        event::{EnvelopeFault, EventId},
    },
    producer::{Answer, EnqueueError, NewEvent, Producer},
    store::StoreError,
    telemetry,
};

/// The number of batches that are read ahead while one is sent.
const READ_AHEAD: usize = 1;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The customer's account that the events belong to.
    #[arg(long)]
    account: AccountId,
    /// File to read: either one envelope, on one or more lines, or one envelope per line.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Read standard input, and enqueue each line as soon as it arrives. Without - and --file, standard input is read
    /// if it is not a terminal.
    #[arg(value_name = "-", value_parser = ["-"], conflicts_with = "file")]
    standard_input: Option<String>,
    /// Id of the event, which receivers get as `webhook-id`; only for a single envelope.
    #[arg(long)]
    id: Option<EventId>,
    /// Stop at the first line that is not a valid envelope, instead of reporting it and continuing.
    #[arg(long)]
    stop_at_first_error: bool,
    /// Print JSON: `entry` is the stream id, `id` is the `webhook-id` that receivers get. The output is one object for
    /// a single envelope, and one array for lines or with `-` (unless --id is given).
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn names_standard_input(&self) -> bool {
        self.standard_input.is_some() || self.file.as_deref().is_some_and(|file| file == "-")
    }

    /// Whether the answer is in the form for lines, even if only one line comes.
    fn by_lines(&self) -> bool {
        self.names_standard_input() && self.id.is_none()
    }
}

/// The input, and its size in bytes if that is known.
struct Source {
    reader: File,
    bytes: Option<u64>,
}

/// The reason why not all lines were enqueued.
enum Cut {
    /// A refused line, and `--stop-at-first-error`.
    AtFirstError,
    /// Redis failed.
    Store(StoreError),
}

/// Reads, judges and enqueues events, until the end of the input or the first signal.
pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<Exit> {
    let source = match open(&arguments) {
        Ok(source) => source,
        Err(reason) => {
            say(format_args!("error: {reason}"));
            return Ok(Exit::Usage);
        }
    };
    telemetry::init(&settings.log)?;
    let stop = super::signal::on_signal()?;
    let producer = Producer::connect(settings).await?;
    let (sender, mut pieces) = mpsc::channel(READ_AHEAD);
    let max_bytes = usize::try_from(settings.event.max_bytes).unwrap_or(usize::MAX);
    let bytes = source.bytes;
    let by_lines = arguments.by_lines();
    let reading = tokio::task::spawn_blocking(move || input::read(source.reader, by_lines, max_bytes, &sender));
    let mut lines = Lines::new(&arguments, producer, bytes);
    loop {
        let piece = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(lines.end("interrupted: ", Exit::Other)),
            piece = pieces.recv() => piece,
        };
        match piece {
            Some(Piece::Whole(content)) => return one(&arguments, lines, content).await,
            Some(Piece::Lines(_)) | None if arguments.id.is_some() => {
                say(format_args!("error: --id needs a single envelope as input; nothing was enqueued"));
                return Ok(Exit::Usage);
            }
            Some(Piece::Lines(batch)) => {
                if let Some(cut) = lines.enqueue(batch).await {
                    return Ok(lines.cut(cut));
                }
            }
            None => break,
        }
    }
    Ok(match reading.await? {
        Ok(()) => lines.finish(),
        Err(error) => lines.end(&format!("error: cannot read the input: {error}; "), Exit::Other),
    })
}

fn open(arguments: &Arguments) -> Result<Source, String> {
    let file = arguments.file.as_deref().filter(|file| *file != "-");
    let Some(path) = file else {
        if !arguments.names_standard_input() && io::stdin().is_terminal() {
            return Err(
                "nothing to enqueue: name a file with --file FILE, pipe events in, or use - to type them here \
                        (Ctrl-D ends)"
                    .to_owned(),
            );
        }
        let input = io::stdin().as_fd().try_clone_to_owned();
        let input = input.map_err(|e| format!("cannot read standard input: {e}"))?;
        return Ok(Source { reader: input.into(), bytes: None });
    };
    let refuse = |reason: &dyn std::fmt::Display| format!("cannot read {}: {reason}", path.display());
    let file = File::open(path).map_err(|e| refuse(&e))?;
    let metadata = file.metadata().map_err(|e| refuse(&e))?;
    if metadata.is_dir() {
        return Err(refuse(&"it is a directory"));
    }
    // A pipe or a device has no length.
    Ok(Source { reader: file, bytes: metadata.is_file().then_some(metadata.len()) })
}

/// Enqueues an input that is a single envelope.
async fn one(arguments: &Arguments, lines: Lines, content: Content) -> anyhow::Result<Exit> {
    let Lines { producer, mut ids, .. } = lines;
    let account = &arguments.account;
    let answer = match content {
        Ok(envelope) => {
            let event = NewEvent { id: arguments.id.clone(), ..NewEvent::from_envelope(envelope) };
            let enqueued = producer.enqueue(account, &event).await;
            enqueued.map(|enqueued| (producer.event_id(account, &event, &enqueued), enqueued.stream_id))
        }
        Err(fault) => Err(EnqueueError::Refused(fault)),
    };
    match answer {
        Ok((id, entry)) => {
            let json = || serde_json::json!({ "entry": entry, "id": id, "account": account }).to_string();
            let error = if arguments.json && !arguments.by_lines() {
                writeln!(io::stdout(), "{}", json()).err()
            } else {
                ids.write(1, &entry, arguments.json.then_some(&id));
                ids.finish()
            };
            let failed = lost(error);
            Ok(if failed { Exit::Other } else { Exit::Success })
        }
        Err(EnqueueError::Refused(fault)) => {
            let hint = match fault {
                EnvelopeFault::NotJson { .. } => "; to enqueue several envelopes, write one per line",
                _ => "",
            };
            say(format_args!("error: {fault}{hint}"));
            if arguments.by_lines() {
                lost(ids.finish());
            }
            Ok(Exit::Refused)
        }
        Err(error) => Err(error.into()),
    }
}

/// Input in lines: sends them in batches, prints their ids, and reports the refused ones.
struct Lines {
    producer: Producer,
    account: AccountId,
    stop_at_first_error: bool,
    json: bool,
    ids: Ids<BufWriter<Stdout>>,
    tally: Tally,
    progress: ProgressBar,
    bytes_known: bool,
}

impl Lines {
    fn new(arguments: &Arguments, producer: Producer, bytes: Option<u64>) -> Self {
        Self {
            producer,
            account: arguments.account.clone(),
            stop_at_first_error: arguments.stop_at_first_error,
            json: arguments.json,
            ids: Ids::new(BufWriter::new(io::stdout()), arguments.json),
            tally: Tally::default(),
            progress: progress(bytes),
            bytes_known: bytes.is_some(),
        }
    }

    /// Enqueues a batch and reports each line's result. Returns the reason if no further batch is to be sent.
    async fn enqueue(&mut self, batch: Batch) -> Option<Cut> {
        let mut numbers = Vec::with_capacity(batch.lines.len());
        let mut unread = Vec::new();
        let mut events = Vec::with_capacity(batch.lines.len());
        for line in batch.lines {
            let fault = match line.content {
                Ok(envelope) => {
                    let event = NewEvent::from_envelope(envelope);
                    let fault = self.stop_at_first_error.then(|| self.producer.judge(&event).err()).flatten();
                    events.push((self.account.clone(), event));
                    fault.is_some()
                }
                Err(fault) => {
                    unread.push((numbers.len(), fault));
                    true
                }
            };
            numbers.push(line.number);
            if fault && self.stop_at_first_error {
                break;
            }
        }
        let answers = self.producer.enqueue_all(&events).await.into_iter().zip(&events);
        let with_id = |(answer, (account, event)): (Answer, &(AccountId, NewEvent))| {
            let enqueued = answer.as_ref().ok().filter(|_| self.json);
            let id = enqueued.map(|enqueued| self.producer.event_id(account, event, enqueued));
            (answer, id)
        };
        let mut answers: Vec<_> = answers.map(with_id).collect();
        for (index, fault) in unread {
            answers.insert(index, (Err(EnqueueError::Refused(fault)), None));
        }
        let progress = self.progress.clone();
        let cut = progress.suspend(|| self.tell(&numbers, &answers));
        progress.set_position(if self.bytes_known { batch.position } else { self.tally.enqueued() });
        progress.set_message(self.tally.to_string());
        cut
    }

    fn tell(&mut self, numbers: &[u64], answers: &[(Answer, Option<EventId>)]) -> Option<Cut> {
        let mut cut = None;
        for (line, (answer, id)) in numbers.iter().zip(answers) {
            self.tally.note(*line, answer);
            match answer {
                Ok(enqueued) => self.ids.write(*line, &enqueued.stream_id, id.as_ref()),
                Err(EnqueueError::Refused(fault)) => say(format_args!("line {line}: {fault}")),
                Err(EnqueueError::NotAccepted(error) | EnqueueError::Unknown(error)) => {
                    cut.get_or_insert_with(|| Cut::Store(error.clone()));
                }
            }
        }
        self.ids.flush();
        let stop = self.stop_at_first_error && self.tally.refused() > 0;
        cut.or_else(|| stop.then_some(Cut::AtFirstError))
    }

    /// The end of the input.
    fn finish(self) -> Exit {
        self.progress.finish_and_clear();
        say(format_args!("{}", self.tally));
        let exit = if self.tally.refused() > 0 { Exit::Refused } else { Exit::Success };
        if lost(self.ids.finish()) && exit == Exit::Success { Exit::Other } else { exit }
    }

    fn cut(self, cut: Cut) -> Exit {
        match cut {
            Cut::AtFirstError => self.end("stopped at the first error: ", Exit::Refused),
            Cut::Store(error) => {
                let error = anyhow::Error::from(error);
                self.end(&format!("error: {}; ", super::exit::line(&error)), Exit::of(&error))
            }
        }
    }

    /// Ends before the end of the input.
    fn end(self, why: &str, exit: Exit) -> Exit {
        self.progress.finish_and_clear();
        say(format_args!("{why}{}; {}", self.tally, self.tally.how_to_go_on()));
        lost(self.ids.finish());
        exit
    }
}

/// Progress on standard error, if that is a terminal: for a file the percentage that is done, otherwise the number of
/// events and the rate.
fn progress(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{wide_bar} {percent}%  {msg}  {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}  {per_sec}  {elapsed}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("a template that is written here"))
}

/// Whether standard output failed for a reason other than its reader leaving. Reports the failure in either case.
fn lost(error: Option<io::Error>) -> bool {
    let Some(error) = error else { return false };
    say(format_args!("not all ids were printed: {error}"));
    error.kind() != io::ErrorKind::BrokenPipe
}
