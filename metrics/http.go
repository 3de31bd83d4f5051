package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes bounds scrapes at work, and with them their memory. One more is
// answered with 503.
const maxScrapes = 8

// Handler serves the metrics of reg, the registry given to [New], in the format
// that the scraper asks for: text, OpenMetrics, or protobuf (native histograms).
// A collector that fails is left out; the others are served.
func Handler(reg prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		EnableOpenMetrics:   true,
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
	})
}
