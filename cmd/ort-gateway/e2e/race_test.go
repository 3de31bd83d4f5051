//go:build race

package e2e

// raceFlag makes the gateway's binary be built with the race detector where the tests run with it.
const raceFlag = "-race"
