package app

import "context"

// runEnv prints the settings table. The README holds the same, kept equal by a test.
func runEnv(_ context.Context, p process) int {
	if err := writeTable(p.stdout); err != nil {
		return p.fail(err)
	}
	return exitGood
}
