// The handler through which XLA, and with it JAX, calls every op of the table.
#pragma once

// Of XLA's C interface for custom calls: `handler(frame)` gives null or an error, which the caller owns.
struct XLA_FFI_CallFrame;
struct XLA_FFI_Error;

extern "C" XLA_FFI_Error* tapkernels_xla(XLA_FFI_CallFrame* frame);
