// SIGINT and SIGTERM end a run at its next safe point instead of at once.
#pragma once

namespace ftt {

// From now on the first SIGINT or SIGTERM only sets a flag, and a second one ends the process at
// once with 128 plus the signal's number.
void InstallSignalHandlers();

// Whether one has arrived. Loops ask once per step, write a checkpoint and return.
bool StopRequested();

// Number of the signal that has arrived, or 0.
int StopSignal();

// Forgets an arrived signal; for tests.
void ClearStopRequest();

}  // namespace ftt
