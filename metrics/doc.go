// Package metrics names every metric of the gateway, and every value that a
// label of one may take.
//
// A stranger must not be able to make a series. So a label's value comes from a
// list written down here (metrics.go); any other value is counted under "other".
// Two kinds of names are not in the lists and come from the operator and from
// the program itself: the ids of sealing keys, and the version of the build.
//
// Every series of a listed value exists at 0 from the start: rate() and alerts
// work before the first event. testdata/names.golden shows them all as they are
// scraped; a change there is a change that dashboards see.
//
// Methods do nothing on a nil *Metrics, so code under test needs neither a
// registry nor a fake. All are safe for concurrent use. Those called for each
// request look up no label and allocate nothing.
//
// What is counted when is decided by the callers. This package knows no request
// and no session.
//
// # Choices
//
//   - Durations are classic and native histograms at once: the classic buckets
//     resolve 1 to 50 ms, where an exchange over a local IdP lies; a Prometheus
//     that scrapes native histograms gets a resolution of 10 % everywhere.
//   - dpop_clock_offset_seconds has buckets below zero: a client's clock is as
//     often slow as fast.
//   - A gauge whose source a Config leaves out is absent, not 0: 0 sessions and
//     "nobody counts sessions" are different news.
package metrics
