package limit

// ErrWrongTokens is the cause of a refusal by Failures.
var ErrWrongTokens = errWrongTokens
