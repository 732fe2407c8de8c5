# One image, one command per service:
#   python -m vreg_api | python -m vreg_token_broker | python -m vreg_proxy | vreg setup
FROM python:3.11-slim AS build

RUN python -m venv /opt/vreg
WORKDIR /src
COPY constraints.txt ./
RUN /opt/vreg/bin/pip install --no-cache-dir --require-hashes -r constraints.txt
COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY cli cli
COPY services services
COPY shared shared
RUN /opt/vreg/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim

# Folders that volumes are mounted on belong to the user who writes there.
RUN useradd --system --uid 10001 --home-dir /var/lib/vreg --shell /usr/sbin/nologin vreg \
 && install -d -m 0700 -o vreg -g vreg \
    /var/lib/vreg /var/lib/vreg/keys /var/lib/vreg/keys/api /var/lib/vreg/keys/token-broker \
    /var/lib/vreg/keys/proxy /var/lib/vreg/keys/public /var/lib/vreg/nats \
    /var/lib/vreg/token-broker /var/lib/vreg/proxy /var/lib/vreg/proxy/records /var/lib/vreg/proxy/cache
COPY --from=build /opt/vreg /opt/vreg

ENV PATH=/opt/vreg/bin:/usr/local/bin:/usr/bin:/bin \
    VREG_HOME=/var/lib/vreg \
    VREG_PUBLIC_KEYS=/var/lib/vreg/keys/public
USER vreg
WORKDIR /var/lib/vreg
EXPOSE 8500 8600
CMD ["python", "-m", "vreg_proxy"]
