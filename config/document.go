package config

// document is the TOML file as it is written. Everything that is more than a string, a number or a switch is a string
// here and becomes a domain type in the files beside this one.
type document struct {
	Roles               []string                      `toml:"roles"`
	StateDirectory      *string                       `toml:"state_directory"`
	Log                 documentLog                   `toml:"log"`
	Control             documentControl               `toml:"control"`
	TUN                 *documentTUN                  `toml:"tun"`
	Link                []documentLink                `toml:"link"`
	SecurityAssociation []documentSecurityAssociation `toml:"security_association"`
	MobileNode          *documentMobileNode           `toml:"mobile_node"`
	HomeAgent           *documentHomeAgent            `toml:"home_agent"`
}

type documentLog struct {
	Level  *string `toml:"level"`
	Format *string `toml:"format"`
}

type documentControl struct {
	Socket *string `toml:"socket"`
}

type documentTUN struct {
	Name    *string `toml:"name"`
	MTU     *int64  `toml:"mtu"`
	Offload *bool   `toml:"offload"`
}

type documentLink struct {
	Interface     string   `toml:"interface"`
	Autoconfigure bool     `toml:"autoconfigure"`
	Addresses     []string `toml:"addresses"`
	Gateway       *string  `toml:"gateway"`
	Preference    int64    `toml:"preference"`
	Offload       *bool    `toml:"offload"`
}

type documentSecurityAssociation struct {
	SPI             int64   `toml:"spi"`
	Algorithm       *string `toml:"algorithm"`
	KeyFile         string  `toml:"key_file"`
	TimestampWindow *string `toml:"timestamp_window"`
}

type documentMobileNode struct {
	HomeAddress          string   `toml:"home_address"`
	HomePrefix           string   `toml:"home_prefix"`
	HomeAgent            *string  `toml:"home_agent"`
	Identifier           string   `toml:"identifier"`
	Lifetime             *string  `toml:"lifetime"`
	Destinations         []string `toml:"destinations"`
	SPI                  *int64   `toml:"spi"`
	AllowUnauthenticated bool     `toml:"allow_unauthenticated_signaling"`
}

type documentHomeAgent struct {
	Address              string                        `toml:"address"`
	HomePrefixes         []string                      `toml:"home_prefixes"`
	HomeLink             *string                       `toml:"home_link"`
	Preference           int64                         `toml:"preference"`
	MaxLifetime          *string                       `toml:"max_lifetime"`
	KeepBindings         *bool                         `toml:"keep_bindings"`
	RefreshAdvice        *string                       `toml:"refresh_advice"`
	MaxBindings          *int64                        `toml:"max_bindings"`
	MaxBindingsPerNode   *int64                        `toml:"max_bindings_per_mobile_node"`
	MobileNode           []documentHomeAgentMobileNode `toml:"mobile_node"`
	AllowAnyMobileNode   bool                          `toml:"allow_any_mobile_node"`
	AllowUnauthenticated bool                          `toml:"allow_unauthenticated_signaling"`
}

type documentHomeAgentMobileNode struct {
	Identifier           string   `toml:"identifier"`
	HomeAddress          string   `toml:"home_address"`
	MobileNetworks       []string `toml:"mobile_networks"`
	SPI                  *int64   `toml:"spi"`
	AllowUnauthenticated bool     `toml:"allow_unauthenticated_signaling"`
}
