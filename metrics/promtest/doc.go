// Package promtest runs a real Prometheus in tests: it scrapes what is under
// test, evaluates rules, and is asked as people's dashboards ask it.
//
// Prometheus is not part of the module. Where it is not installed, a test is
// skipped, and fails where CI=true.
package promtest
