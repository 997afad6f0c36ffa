"""View of one cell of a run: a fragment beside the matrix, or a whole page without JavaScript."""

from __future__ import annotations

from django.http import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from core.pages import BrandRequest, brand_page
from review.selectors import cells


@require_safe
@brand_page()
def detail(request: BrandRequest, run_id: int, cell_id: int) -> HttpResponseBase:
    detail = cells.cell_detail(user=request.user, brand=request.brand, run_id=run_id, cell_id=cell_id)
    is_fragment = request.headers.get("X-Requested-With") == "drawer"
    name = "review/cell_drawer.html" if is_fragment else "review/cell.html"
    answer = render(request, name, {"detail": detail, "run": detail.asset.cell.run})
    answer["Vary"] = "X-Requested-With, Cookie"
    return answer
