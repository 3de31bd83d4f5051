package metrics

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// factory registers metrics under our namespace and makes all their series at
// once. The series are kept, so that no call looks up a label again.
type factory struct{ promauto.Factory }

// counters is a counter for each value of one label.
type counters struct {
	values *list
	of     []prometheus.Counter
}

func (c *counters) inc(value string) { c.of[c.values.index(value)].Inc() }

func (f factory) counters(name, help, label string, values *list) counters {
	vec := f.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, []string{label})
	c := counters{values: values}
	for _, v := range values.values {
		c.of = append(c.of, vec.WithLabelValues(v))
	}
	return c
}

// table is a counter for each pair of two labels' values.
func (f factory) table(name, help, label1 string, values1 []string, label2 string, values2 []string) [][]prometheus.Counter {
	vec := f.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, []string{label1, label2})
	t := make([][]prometheus.Counter, len(values1))
	for i, v1 := range values1 {
		for _, v2 := range values2 {
			t[i] = append(t[i], vec.WithLabelValues(v1, v2))
		}
	}
	return t
}

// histograms is a histogram of durations for each value of one label.
type histograms struct {
	values *list
	of     []prometheus.Observer
}

func (f factory) histograms(name, help string, buckets []float64, label string, values *list) histograms {
	vec := f.NewHistogramVec(histogramOpts(name, help, buckets), []string{label})
	h := histograms{values: values}
	for _, v := range values.values {
		h.of = append(h.of, vec.WithLabelValues(v))
	}
	return h
}

func (f factory) histogram(name, help string, buckets []float64) prometheus.Histogram {
	return f.NewHistogram(histogramOpts(name, help, buckets))
}

// histogramOpts asks for classic and native buckets. The native ones are bounded
// in number: when there are more, they start anew after an hour, else they get
// wider.
func histogramOpts(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	}
}

// gaugeFunc registers a gauge that reads its value when it is scraped, where
// there is something to read.
func (f factory) gaugeFunc(name, help string, read func() float64) {
	if read != nil {
		f.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, read)
	}
}

// info registers a gauge that is always 1 and whose labels are the news.
func (f factory) info(name, help string, labels prometheus.Labels) {
	f.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels}).Set(1)
}

// keyInfo is sealing_key_info. It is no GaugeVec because a scrape must see
// either the former ids or the new ones, never the moment in between.
type keyInfo struct {
	desc *prometheus.Desc
	ids  atomic.Pointer[[]string]
}

func newKeyInfo() *keyInfo {
	return &keyInfo{desc: prometheus.NewDesc(namespace+"_sealing_key_info",
		"Sealing keys in force, by their id; always 1.", []string{"id"}, nil)}
}

// set keeps each id once: a series that is there twice would spoil the scrape.
func (k *keyInfo) set(ids []string) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	k.ids.Store(&ids)
}

// Describe is for the registry.
func (k *keyInfo) Describe(ch chan<- *prometheus.Desc) { ch <- k.desc }

// Collect is for the registry.
func (k *keyInfo) Collect(ch chan<- prometheus.Metric) {
	if ids := k.ids.Load(); ids != nil {
		for _, id := range *ids {
			ch <- prometheus.MustNewConstMetric(k.desc, prometheus.GaugeValue, 1, id)
		}
	}
}
