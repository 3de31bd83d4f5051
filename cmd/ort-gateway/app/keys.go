package app

import (
	"context"
	"fmt"

	"github.com/ort-gateway/ort-gateway/ortengine/seal"
)

// runKeys prints a new sealing key. Put first in ORT_SEALING_KEYS it seals from the next reading on; what the older
// keys sealed still opens as long as they stay in the list.
func runKeys(_ context.Context, p process) int {
	if _, err := fmt.Fprintln(p.stdout, seal.NewKey()); err != nil {
		return p.fail(err)
	}
	return exitGood
}
