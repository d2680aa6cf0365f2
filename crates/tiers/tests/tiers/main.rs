//! Tiers over real far sides: BuildNet's own gRPC server, and a server that speaks S3; both also when they fail.

mod archives;
mod faults;
mod object_store;
mod remote;
mod support;
