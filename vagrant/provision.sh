#!/usr/bin/env bash
# Run by Vagrant as root in each machine, once at the first start and again by `vagrant provision`.
#   provision.sh router        forwards between the two subnets
#   provision.sh node MODE     plugins, configuration and a running agent, in mode vxlan or routed
set -euo pipefail

files=/tmp/culvert

router() {
  cat >/etc/sysctl.d/60-router.conf <<'END'
net.ipv4.ip_forward = 1
END
  sysctl -q --system
  # what mode routed asks of a router: that it knows the podCIDRs. vxlan does not need these.
  cat >/etc/systemd/system/pod-routes.service <<'END'
[Unit]
Description=Routes to the podCIDRs
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/ip route replace 10.244.1.0/24 via 192.168.1.11
ExecStart=/sbin/ip route replace 10.244.2.0/24 via 192.168.1.12
ExecStart=/sbin/ip route replace 10.244.3.0/24 via 192.168.2.13

[Install]
WantedBy=multi-user.target
END
  systemctl daemon-reload
  systemctl enable --now pod-routes.service
}

# The other subnet is reached through the router, not through the machine's default route.
other_subnet() {
  if ip -4 -o address show | grep -q ' 192\.168\.1\.'; then
    echo '192.168.2.0/24 via 192.168.1.1'
  else
    echo '192.168.1.0/24 via 192.168.2.1'
  fi
}

node() {
  apt-get -q update
  DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends \
    iproute2 nftables wireguard-tools util-linux iputils-ping tcpdump iperf3

  install -D -m 755 "$files/culvert" /opt/cni/bin/culvert
  for name in bridge host-local loopback; do
    ln -sf culvert "/opt/cni/bin/$name"
  done
  install -m 755 "$files/pod" /usr/local/bin/pod

  install -D -m 644 "$files/cluster.yaml" /etc/culvert/cluster.yaml
  # the router knows the IPv4 podCIDRs (above); there is no IPv6 below the pods, so mode routed carries IPv4 only
  printf 'mode: %s\nbehindRouter: gateway\n' "$1" >/etc/culvert/agent.yaml

  install -m 644 "$files/culvert-agent.service" /etc/systemd/system/culvert-agent.service
  mkdir -p /etc/systemd/system/culvert-agent.service.d
  printf '[Service]\nExecStartPre=/sbin/ip route replace %s\n' "$(other_subnet)" \
    >/etc/systemd/system/culvert-agent.service.d/route.conf
  systemctl daemon-reload
  systemctl enable culvert-agent.service
  systemctl restart culvert-agent.service
}

"$@"
