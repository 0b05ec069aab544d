//! p2pbench as its users run it: arguments in; exit code, stdout and stderr out. All of it on mock machines.

#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]

mod check;
mod compare;
mod explain;
mod golden;
mod hostile;
mod html;
mod jobs;
mod machines;
mod mock;
mod overlay;
mod pipe;
mod program;
mod record;
mod refusal;
mod run;
mod schema;
mod topo;
